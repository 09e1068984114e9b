"""Parquet tables of pictures: the same columns as CSV, and what is odd in a row."""

import csv
import os
import re
import sys

import pytest

from tellapart.data import table_rows
from tellapart.data.dataset import Dataset
from tellapart.data.open_data import open_data
from tellapart.data.parquet_table import read_parquet_table
from tellapart.data.table_rows import read_rows
from tellapart.errors import DatasetError, MissingExtra

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(file, **columns):
    parquet.write_table(arrow.table(columns), file, row_group_size=2)
    return file


def test_the_same_as_a_csv_file(tmp_path):
    columns = {
        "Name": ["b.jpg", "a.jpg", "s3://bucket/c.jpg", "d.jpg"],
        "label": ["dog", "cat", "cafe\u0301", "cat"],
        "split": ["train", "Val", "training set", "test"],
        "group": ["g", "", None, "h"],
        "caption": ["not", "read", "at", "all"],
    }
    file = write(tmp_path / "t.parquet", **columns)
    with (tmp_path / "t.csv").open("w", newline="") as out:
        csv.writer(out).writerows([list(columns), *zip(*columns.values(), strict=True)])
    first, second = open_data(file), open_data(tmp_path / "t.csv")
    assert first.table.equals(second.table)
    assert first.root == second.root == tmp_path
    assert Dataset.from_parquet(file, root="s3://other").paths[0] == "s3://bucket/c.jpg"
    assert Dataset.from_parquet(file, root="s3://other").paths[1] == "s3://other/a.jpg"


def test_odd_rows_are_failures_that_name_them(tmp_path):
    file = write(
        tmp_path / "t.parquet",
        path=["a.jpg", None, "b.jpg", "a.jpg", "  ", "c.jpg", "x\0.jpg", "e.jpg"],
        label=["cat", "cat", None, "dog", "cat", "dog", "cat", "cat"],
        split=["train", "train", "train", "train", "train", "valid", "train", "sometimes"],
    )
    rows, failures = read_parquet_table(file)
    assert [(row["path"], row["label"]) for row in rows] == [("a.jpg", "cat"), ("c.jpg", "dog")]
    assert [(f.path, f.reason) for f in failures] == [
        ("t.parquet row 2", "odd row"), ("t.parquet row 3", "odd row"),
        ("t.parquet row 4", "two labels"), ("t.parquet row 5", "odd row"),
        ("t.parquet row 7", "odd row"), ("t.parquet row 8", "odd row"),
    ]  # fmt: skip


def test_types(tmp_path):
    names = arrow.array(["a.jpg", "b.jpg"]).dictionary_encode()
    rows, _ = read_parquet_table(
        write(tmp_path / "n.parquet", url=names, label=[3, 10], is_valid=[True, False])
    )
    assert [(row["label"], row["split"]) for row in rows] == [("3", "valid"), ("10", "train")]
    for columns, text in (
        ({"path": [1, 2], "label": ["a", "b"]}, "its path is no text but of the type int"),
        ({"path": ["a", "b"], "label": [0.5, 1.0]}, "its label .* float"),
        ({"path": ["a", "b"], "label": [["x"], ["y"]]}, "its label .* list"),
    ):
        places = [("odd row 1", {name: values[0] for name, values in columns.items()})]
        good = ("odd row 2", {"path": "c.jpg", "label": "cat"})
        _, failures = read_rows("odd", list(columns), [*places, good], "better")
        assert re.search(text, failures[0].detail)
        with pytest.raises(DatasetError, match=f"no usable row.*{text.partition(' .*')[0]}"):
            read_parquet_table(write(tmp_path / "odd.parquet", **columns))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DatasetError, match="its columns are id, label; expected name,label"):
        read_parquet_table(write(tmp_path / "t.parquet", id=["a"], label=["b"]))
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(DatasetError, match="no Parquet table"):
        open_data(tmp_path / "bad.parquet")
    with pytest.raises(DatasetError, match="cannot be read"):
        open_data(tmp_path / "none.parquet")


def test_values_that_cannot_be_read_are_odd_rows(tmp_path):
    offsets = arrow.py_buffer(b"\0\0\0\0\x03\0\0\0\x08\0\0\0")
    names = arrow.Array.from_buffers(
        arrow.string(), 2, [None, offsets, arrow.py_buffer(b"a\xffbc.jpg")]
    )
    rows, failures = read_parquet_table(write(tmp_path / "t.parquet", path=names, label=["a", "b"]))
    assert [row["path"] for row in rows] == ["c.jpg"]
    assert "its path cannot be read: not UTF-8" in failures[0].detail
    late = arrow.array([2**62, 0], arrow.timestamp("us"))
    with pytest.raises(DatasetError, match=r"no usable row.*its label cannot be read"):
        read_parquet_table(write(tmp_path / "t.parquet", path=["a", "b"], label=late))
    odd = tmp_path / os.fsdecode(b"caf\xe9.parquet")
    write(tmp_path / "t.parquet", path=["a", "b"], label=["a", "b"]).rename(odd)
    assert len(open_data(odd)) == 2
    twice = arrow.table([["a"], ["a"], ["b"]], names=["path", "label", "label"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="more than one column is called label"):
        read_parquet_table(tmp_path / "t.parquet")


def test_a_small_file_does_not_fill_the_memory(tmp_path):
    long = arrow.DictionaryArray.from_arrays(
        arrow.array([0] * 3000, arrow.int32()), ["x" * (1 << 20)]
    )
    parquet.write_table(
        arrow.table({"path": long, "label": ["a"] * 3000}),
        tmp_path / "t.parquet",
        compression="zstd",
    )
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    before = arrow.total_allocated_bytes()
    with pytest.raises(DatasetError, match="its path has 1,048,576 characters"):
        read_parquet_table(tmp_path / "t.parquet")
    assert arrow.default_memory_pool().max_memory() - before < 1 << 30  # and not 3 GiB


def test_failures_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(table_rows, "_MOST_FAILURES", 10)
    file = write(tmp_path / "t.parquet", path=[None] * 50 + ["a.jpg"], label=["cat"] * 51)
    _, failures = read_parquet_table(file)
    assert len(failures) == 11
    assert failures[-1].detail == "40 more that cannot be used"
    assert failures[-1].path == str(file)


def test_behind_a_url(tmp_path):
    pytest.importorskip("fsspec")
    write(tmp_path / "t.parquet", path=["a.jpg", "b.jpg"], label=["cat", "dog"])
    pictures = open_data(f"file://{tmp_path}/t.parquet")
    assert pictures.paths == [f"file://{tmp_path}/a.jpg", f"file://{tmp_path}/b.jpg"]
    with pytest.raises(DatasetError, match="missing"):
        open_data(f"file://{tmp_path}/none.parquet")


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    file = write(tmp_path / "t.parquet", path=["a.jpg"], label=["cat"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="remote"):
        Dataset.from_parquet(file)
