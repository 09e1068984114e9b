"""Opening pictures by what is given: a folder, a table, tar shards, or the URL of any of them."""

from pathlib import Path

from tellapart.data.dataset import Dataset
from tellapart.data.places import as_url, refuse_secret, without_query
from tellapart.data.remote import list_url
from tellapart.data.remote_folder import folder_rows
from tellapart.data.shards import are_shard_names, are_shards

__all__ = ["open_data"]


def open_data(
    data: str | Path, *, train: str | None = None, valid: str | None = None, test: str | None = None
) -> Dataset:
    """The pictures of a folder, a .csv or .parquet file, tar shards, or the URL of one of these.

    Shards are a .tar, a pattern such as `train-{000..015}.tar`, or a folder that holds some and no
    pictures. `train`, `valid` and `test` name the split folders where they have unusual names.

    Raises DatasetError where there is nothing to learn from.
    """
    refuse_secret(data)
    url = as_url(data)
    name = without_query(url or str(data)).lower()
    if url is not None or not Path(data).is_dir():
        if name.endswith(".csv"):
            return Dataset.from_csv(data)
        if name.endswith((".parquet", ".pq")):
            return Dataset.from_parquet(data)
    if are_shards(data):
        return Dataset.from_shards(data)
    if url is None:
        return Dataset.from_folder(data, train=train, valid=valid, test=test)
    names = list_url(url)
    if are_shard_names(names):
        return Dataset.from_shards(url)
    rows, notes = folder_rows(url, names, {"train": train, "valid": valid, "test": test})
    return Dataset.from_rows(url, rows, notes=notes)
