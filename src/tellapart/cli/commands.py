"""The commands by name, each imported when it is first asked for: a short one is not to wait for all."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["Commands"]

_SHORT: Final = {
    "demo": "The main job in a minute, on drawn pictures.",
    "gather": "Download pictures from lists of links.",
    "verify": "Check the pictures of a folder.",
    "check": "Is this data good enough? Find what is wrong with it.",
    "show": "Look at the pictures: a sheet of every class.",
    "train": "Train a classifier and measure it.",
    "backbones": "List the networks to train on.",
    "report": "One page that says what a run is worth.",
    "clean": "Look through the pictures and mend their labels.",
    "lr-find": "Find a learning rate for finetune.",
    "finetune": "Unfreeze a run's network and train it on.",
    "export": "Write a run as one file that answers everywhere.",
    "predict": "Tell what new pictures show.",
    "serve": "Answer over HTTP, with a page to drop pictures on.",
    "gallery": "Draw a data set to try things on.",
}
"""In the order of the help. A command is the function of its name in the module of its name."""


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": {}})
        self.commands = _Imported()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_SHORT)


class _Imported(MutableMapping[str, Any]):
    """Commands that are imported when they are looked up."""

    def __init__(self) -> None:
        self._made: dict[str, TyperCommand] = {}

    def __getitem__(self, name: str) -> TyperCommand:
        if name not in self._made:
            word = name.replace("-", "_")
            if name not in _SHORT:
                raise KeyError(name)
            function = getattr(import_module(f"tellapart.cli.{word}"), word)
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name, short_help=_SHORT[name])(function)
            self._made[name] = typer.main.get_command(single)  # type: ignore[assignment]
        return self._made[name]

    def __setitem__(self, name: str, command: TyperCommand) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_SHORT)

    def __len__(self) -> int:
        return len(_SHORT)
