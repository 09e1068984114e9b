"""The person decides: pictures are looked through in a browser, and every decision is kept at once."""
