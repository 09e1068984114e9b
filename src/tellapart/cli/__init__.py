"""The command line: a module per command, each of which parses, makes one call, and prints."""

import gc

gc.set_threshold(50_000)  # at 700, collecting takes a tenth of the time while modules load
