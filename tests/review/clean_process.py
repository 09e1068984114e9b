"""`tellapart clean` as a process of its own."""

import json
import subprocess
import sys

__all__ = ["clean_command", "started"]

_CODE = """
from tellapart.cli import main
from tellapart.cli.clean import clean
if "clean" not in {command.name or command.callback.__name__ for command in main.app.registered_commands}:
    main.app.command()(clean)
main.main()
"""


def clean_command(*arguments):
    return [sys.executable, "-c", _CODE, "clean", *map(str, arguments)]


def started(*arguments, **options):
    """The process, and what it prints when its link can be opened."""
    command = clean_command(*arguments, "--json", "--no-browser")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    return process, json.loads(line)
