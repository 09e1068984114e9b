"""Write each example's notebook from its script: `python examples/make_notebooks.py`.

A line `# %%` begins a cell of code, `# %% [markdown]` one of text. The cell `# %% arguments` becomes plain
settings, and a figure that is saved is shown as well.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent


def notebook(script: str) -> dict[str, Any]:
    """A notebook, nbformat 4.5, of a script's text; without outputs."""
    _, *parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)
    cells = [
        _cell(f"cell-{i}", kind.strip(), text.strip("\n"))
        for i, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(name: str, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "id": name, "metadata": {}}
    if kind == "[markdown]":
        cell["cell_type"] = "markdown"
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
    else:
        cell |= {"execution_count": None, "outputs": []}
        text = text.replace("import argparse\n", "")
        text = re.sub(r"^(figure\.savefig\(.*\))$", r"\1\nfigure", text, flags=re.MULTILINE)
    if kind == "arguments":
        cell["metadata"] = {"tags": ["parameters"]}
        text = _settings(text)
    return {**cell, "source": text.splitlines(keepends=True)}


def _settings(code: str) -> str:
    """`args` with the defaults of each `add_argument`, and its help as a comment."""
    lines = ["from types import SimpleNamespace\n", "args = SimpleNamespace("]
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            said = {word.arg: word.value for word in call.keywords}
            name = ast.literal_eval(call.args[0]).lstrip("-")
            default = ast.get_source_segment(code, said["default"])
            lines.append(f"    {name}={default},  # {ast.literal_eval(said['help'])}")
    return "\n".join([*lines, ")"])


def main() -> None:
    """Write all notebooks; with `--check`, exit with status 1 where one is not as its script."""
    stale = []
    for script in sorted(EXAMPLES.glob("*/run.py")):
        file = script.with_name(f"{script.parent.name}.ipynb")
        text = json.dumps(notebook(script.read_text("utf-8")), indent=1, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            file.write_text(text, "utf-8")
        elif not file.exists() or file.read_text("utf-8") != text:
            stale.append(str(file))
    if stale:
        sys.exit(f"{', '.join(stale)}: run python examples/make_notebooks.py")


if __name__ == "__main__":
    main()
