"""What is looked through: the pictures as they were given, and where their journal is."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tellapart.data.dataset import Dataset
from tellapart.reporting.commands import base_run
from tellapart.reporting.data_card import training_data
from tellapart.training.run import Run, read_config
from tellapart.training.run_pictures import run_pictures
from tellapart.training.train import TrainOptions, open_dataset

__all__ = ["Reviewed", "find_reviewed", "is_run"]


@dataclass(frozen=True)
class Reviewed:
    """The pictures of `dataset`, with the groups and splits that they have of themselves.

    `run` is the one that was named, if one was; `name` is for people; `file` is the table that the data
    was read from, which is never written to. `journal` is where decisions are kept by default.
    """

    dataset: Dataset
    run: Run | None
    name: str
    journal: Path
    file: Path | None = None


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run's or a stage's, finished or not, and no data."""
    config = read_config(Path(folder))
    asked = isinstance(config, dict) and bool(config.keys() & {"recipe", "of_run"})
    return asked or (Path(folder) / "run.json").is_file()


def find_reviewed(
    data_or_run: Dataset | Run | str | Path, options: TrainOptions | None = None
) -> Reviewed:
    """The table of the pictures; none of them is read.

    Those of a run are the ones that it was trained on, with its splits, so that what is trained on the
    cleaned table can be compared with it.

    Raises DatasetError or RunError where there are none.
    """
    if isinstance(data_or_run, Dataset):
        return _of_data(data_or_run, data_or_run.root.resolve().name)
    if isinstance(data_or_run, Run) or is_run(data_or_run):
        run = data_or_run if isinstance(data_or_run, Run) else Run.load(data_or_run)
        trained = base_run(run)
        pictures = _with_given_groups(run_pictures(run))
        name = pictures.root.resolve().name or "data"
        # A network that was trained on the labels would find none of them wrong.
        judge = trained if "stage" in run.info else run
        given = training_data(trained or run)
        table = Path(given) if given.lower().endswith(".csv") else None
        return Reviewed(pictures, judge, name, run.folder / "review.sqlite", table)
    path = Path(data_or_run)
    dataset = open_dataset(path, options)
    if path.is_dir():
        return _of_data(dataset, path.resolve().name)
    name = f"{path.resolve().parent.name}-{path.stem}".lstrip("-")  # many tables are called cleaned
    return replace(_of_data(dataset, name), file=path)


def _of_data(dataset: Dataset, name: str) -> Reviewed:
    name = name or "data"
    return Reviewed(dataset, None, name, Path("reviews") / name / "review.sqlite")


def _with_given_groups(dataset: Dataset) -> Dataset:
    """Without the groups of near copies, which a run names after their first picture
    (`Dataset.with_copies`): they are found anew wherever they matter, by whichever network looks then."""
    groups = dataset.table["group"]
    made = {
        group for group, path in zip(groups, dataset.paths, strict=True) if group and group == path
    }
    given = pd.Series([name if name not in made else "" for name in groups], dtype=object)
    return replace(dataset, table=dataset.table.assign(group=given))
