"""Figures as files: PNG, SVG or PDF, by the ending of the name."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "check_figure_file", "save_figure"]

KINDS: Final = (".png", ".svg", ".pdf")


def check_figure_file(file: Path, data: Path | None = None, dataset: Dataset | None = None) -> None:
    """Raises UsageError where the file is of another kind, a folder, or would be one of the pictures.

    `data` is the folder or table of the pictures, `dataset` what was read from it.

    >>> check_figure_file(Path("sheet.gif"))
    Traceback (most recent call last):
    ...
    tellapart.errors.UsageError: sheet.gif: give a name that ends in .png, .svg, .pdf
    """
    if file.suffix.lower() not in KINDS:
        raise UsageError(f"{file}: give a name that ends in {', '.join(KINDS)}")
    if file.is_dir():
        raise UsageError(f"{file} is a folder; --out takes the name of a file")
    place = file.resolve()
    if data is not None and data.is_dir() and data.resolve() in place.parents:
        raise UsageError(f"{file} lies among the pictures of {data}; choose another --out")
    if dataset is not None and any((dataset.root / p).resolve() == place for p in dataset.paths):
        raise UsageError(f"{file} is one of the pictures; choose another --out")


def save_figure(figure: "Figure", file: Path) -> None:
    """Write the figure, aside and then renamed. Raises DatasetError where that is not possible."""
    raw = BytesIO()
    figure.savefig(raw, format=file.suffix.lower()[1:])
    try:
        write_atomically(file, raw.getvalue())
    except OSError as error:
        raise DatasetError(f"{file} cannot be written: {error.strerror or error}") from None
