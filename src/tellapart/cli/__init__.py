"""The command line: one thin function per command that parses, makes one API call and prints."""
