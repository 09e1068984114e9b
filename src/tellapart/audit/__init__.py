"""Is this data good enough? Checks, each a pure function on what is known once pictures are embedded."""
