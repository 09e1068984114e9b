"""The pictures of a run, as its dataset.csv names them."""

import csv

from tellapart.data.dataset import Dataset
from tellapart.data.places import is_there
from tellapart.errors import DatasetError, RunError
from tellapart.training.run import Run

__all__ = ["run_pictures", "run_table"]


def run_pictures(run: Run) -> Dataset:
    """Paths, labels, splits, groups and hashes as they were when it was trained; no picture is read.

    Raises DatasetError where the folder of the pictures is gone, RunError for a table that does not
    fit the run.
    """
    root = run.info["dataset"]["root"]
    if not is_there(root):
        raise DatasetError(
            f"{root}, where the pictures of {run.folder} were, is not there any more"
        )
    return run_table(run)


def run_table(run: Run) -> Dataset:
    """The same where the pictures themselves may be gone. Raises RunError."""
    root = run.info["dataset"]["root"]
    file = run.folder / "dataset.csv"
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as opened:
            dataset = Dataset.from_rows(root, list(csv.DictReader(opened)))
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}. Train again.") from None
    if dataset.classes != run.classes:
        raise RunError(f"{file} does not fit its run. Train again.")
    return dataset
