"""A page that answers with no server at all: an exported model, run by the browser itself."""
