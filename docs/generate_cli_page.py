"""Write docs/cli.md from the commands themselves, or check that it is up to date.

    python docs/generate_cli_page.py [--check]

The page is made from the options, not from their drawing on a terminal, which changes with the
library that draws it.
"""

import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")


def page() -> str:
    """Every command with its words, arguments and options, as Markdown."""
    from typer.main import get_command

    from tellapart.cli.main import app

    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    parts = ["# Commands\n\nWritten from the commands themselves by `docs/generate_cli_page.py`.\n"]
    parts += [section(name, command) for name, command in commands.items()]
    return "\n".join(parts)


def section(name: str, command: Any) -> str:
    """One command."""
    lines = [line.strip() for line in (command.help or "").splitlines()]
    text = "\n".join(
        f"    {line}" if line.startswith(("tellapart", "find")) else line for line in lines
    )
    rows = ["| argument or option | meaning | default |", "| --- | --- | --- |"]
    for parameter in command.params:
        option = parameter.param_type_name == "option"
        names = (
            ", ".join(f"`{n}`" for n in parameter.opts) if option else f"`{parameter.name.upper()}`"
        )
        default = parameter.default
        shown = "" if default is None or default is False else f"`{default}`"
        rows.append(
            f"| {names} | {parameter.help} | {'required' if parameter.required else shown} |"
        )
    return f"## tellapart {name}\n\n{text.strip()}\n\n" + "\n".join(rows) + "\n"


def main() -> None:
    """Write the page, or exit 1 where it is not what it should be."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text("utf-8") != text:
            sys.exit(f"{PAGE} is out of date; run: python docs/generate_cli_page.py")
        return
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
