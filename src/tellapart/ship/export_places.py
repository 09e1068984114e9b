"""Where an export writes, settled before anything is computed: nothing of the user's is in the way."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tellapart.errors import ModelError, UsageError
from tellapart.ship.model_bytes import check_seal
from tellapart.ship.model_card import MARK

__all__ = ["Places"]

_MODEL = "model.onnx"


@dataclass(frozen=True)
class Places:
    """The model, its card, and where asked for the batch variant and the folder of a page, with the folder
    that holds the runtime for it."""

    file: Path
    card: Path
    batch: Path | None
    web: Path | None
    runtime: Path | None

    @classmethod
    def of(
        cls,
        folder: Path,
        out: str | Path | None,
        batch: str | Path | None,
        web: str | Path | None,
        runtime: str | Path | None,
    ) -> Self:
        """`folder` is that of the run. Raises UsageError where a place is taken, or two are the same."""
        if runtime is not None and web is None:
            raise UsageError("--runtime names files for the page; say its folder too (--web DIR)")
        file = Path(out) if out is not None else Path(web or folder) / _MODEL
        if file.name in ("", "..") or file.is_dir():
            raise UsageError(f"{file} is a folder; name a file, such as {file / _MODEL}")
        card = file.with_suffix(".md") if file.suffix == ".onnx" else Path(f"{file}.md")
        places = cls(file, card, _path(batch), _path(web), _path(runtime))
        places._check()
        return places

    def _check(self) -> None:
        files = [self.file, self.card, *([] if self.batch is None else [self.batch])]
        whole = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100  # links stay links
        if len(set(whole)) < len(whole):
            raise UsageError(
                f"the model, its card ({self.card}) and the batch variant need three different names"
            )
        for path in files:
            _check_parents(path)
        for model in (self.file, self.batch, self.web and self.web / _MODEL):
            if model is not None and os.path.lexists(model) and not _is_export(model):
                raise UsageError(
                    f"{model} is there already, and no model that tellapart has exported; choose another name"
                )
        if os.path.lexists(self.card) and not _is_card(self.card):
            raise UsageError(
                f"{self.card} is there already, and the model's card would replace it; choose another -o"
            )
        if self.web is not None:
            from tellapart.ship.web.site import check_site

            _check_parents(self.web)
            check_site(self.web, self.runtime)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _check_parents(path: Path) -> None:
    """The nearest folder above that exists is one, and can be written to."""
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise UsageError(f"{path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise UsageError(f"{path} cannot be written: {above} is not writable")


def _is_export(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        check_seal(path.read_bytes(), str(path))
    except (OSError, ModelError):
        return False
    return True


def _is_card(path: Path) -> bool:
    try:
        regular = stat.S_ISREG(path.lstat().st_mode)
        return regular and MARK in path.read_text("utf-8", "replace")
    except OSError:
        return False
