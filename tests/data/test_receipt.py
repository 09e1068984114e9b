"""The receipt's file: nothing that was written is lost, whatever is written and whenever it ends."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.data.receipt import (
    COLUMNS,
    STATUSES,
    Receipt,
    ReceiptLog,
    ReceiptRow,
    is_receipt,
    read_receipt,
    read_receipt_counting,
    write_receipt,
)
from tellapart.errors import DatasetError

TEXT = st.text(max_size=12)
PLAIN = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=12)
LABEL = PLAIN.filter(lambda text: "/" not in text and text not in (".", ".."))
PATH = st.builds("{}/{}.jpg".format, LABEL, LABEL) | st.just("")
HASH = st.just("") | st.integers(0, 2**64).map(lambda n: f"{n:064x}")
NUMBER = st.none() | st.integers(0, 10**12)
ROWS = st.builds(
    ReceiptRow, PLAIN, LABEL, st.sampled_from(STATUSES), TEXT, NUMBER, st.integers(0, 9), TEXT,
    NUMBER, NUMBER, NUMBER, HASH, PATH, st.floats(0, 1e6), TEXT, TEXT,
)  # fmt: skip


def printable(row):
    """As a row comes back: what cannot be printed is escaped."""
    return [str(value) for value in row.values()]


@given(rows=st.lists(ROWS, max_size=6))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("receipt") / "receipt.csv"
    write_receipt(file, rows)
    last = {row.key: row for row in rows}
    found = read_receipt(file)
    assert list(found) == list(last)
    assert [printable(row) for row in found.values()] == [printable(row) for row in last.values()]


@given(rows=st.lists(ROWS, min_size=1, max_size=5), data=st.data())
def test_cut_anywhere_all_whole_rows_are_there_and_writing_goes_on(tmp_path_factory, rows, data):
    """A kill -9 may come between any two bytes."""
    file = tmp_path_factory.mktemp("receipt") / "receipt.csv"
    ends = []
    with ReceiptLog(file) as log:
        for row in rows:
            log.add(row)
            ends.append(file.stat().st_size)
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:at])
    whole_rows = [row for row, end in zip(rows, ends, strict=True) if end <= at]
    expected = {row.key: row for row in whole_rows}
    found = read_receipt(file)
    if list(found) != list(expected):  # cut within its last field, a row is there as well
        expected = {row.key: row for row in rows[: len(whole_rows) + 1]}
    assert list(found) == list(expected)
    more = ReceiptRow("http://x/more", "cat", "ok")
    with ReceiptLog(file) as log:
        log.add(more)
    assert list(read_receipt(file)) == list({**expected, more.key: more})


def test_the_last_row_of_a_link_counts(tmp_path):
    file = tmp_path / "receipt.csv"
    rows = [
        ReceiptRow("http://x/1", "cat", "failed", "timeout"),
        ReceiptRow("http://x/1", "dog", "ok"),
        ReceiptRow("http://x/1", "cat", "ok"),
    ]
    write_receipt(file, rows)
    assert [row.status for row in read_receipt(file).values()] == ["ok", "ok"]


def as_pandas_writes(file):
    pd.read_csv(file).to_csv(file, index=False)


def with_semicolons(file):
    lines = list(csv.reader(io.StringIO(file.read_text())))
    with file.open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened, delimiter=";").writerows(lines)


def without_the_last_line_end(file):
    file.write_text(file.read_text().rstrip("\n"))


def in_capitals(file):
    file.write_text(file.read_text().replace(",ok,", ",OK,"))


@pytest.mark.parametrize(
    "touch", [as_pandas_writes, with_semicolons, without_the_last_line_end, in_capitals]
)
def test_a_receipt_that_somebody_touched_loses_no_row(tmp_path, touch):
    file = tmp_path / "receipt.csv"
    rows = [
        ReceiptRow("http://x/1", "cat", "ok", "", 200, 1, "", 10, 320, 240, "a" * 64, "cat/1.jpg"),
        ReceiptRow("http://x/2", "cat", "failed", "HTTP 404", 404, 1),
        ReceiptRow("http://x/3", "dog", "ok", "", 200, 1, "", 11, 320, 240, "b" * 64, "dog/3.jpg"),
    ]
    write_receipt(file, rows)
    touch(file)
    assert is_receipt(file)
    assert list(read_receipt(file).values()) == rows
    with ReceiptLog(file) as log:
        log.add(ReceiptRow("http://x/4", "dog", "ok"))
    assert list(read_receipt(file).values())[:3] == rows
    assert len(read_receipt(file)) == 4


@pytest.mark.parametrize(
    "row",
    [
        ReceiptRow("http://x/1", "../../up", "ok", sha256="a" * 64, path="cat/1.jpg"),
        ReceiptRow("http://x/1", "cat", "ok", sha256="photo", path="cat/photo.jpg"),
        ReceiptRow("http://x/1", "cat", "ok", sha256="a" * 64, path="../cat/1.jpg"),
        ReceiptRow("http://x/1", "cat", "ok", sha256="a" * 64, path="/etc/1.jpg"),
    ],
)
def test_rows_that_lead_out_of_the_folder_are_not_read(tmp_path, row):
    write_receipt(tmp_path / "receipt.csv", [row])
    assert read_receipt_counting(tmp_path / "receipt.csv") == ({}, 1)


def test_columns_may_be_added_or_stand_in_another_place(tmp_path):
    file = tmp_path / "receipt.csv"
    file.write_text("url,class,status,path,mine,bytes\nhttp://x/1,cat,ok,cat/1.jpg,!,12\nodd,cat\n")
    ((row),) = read_receipt(file).values()
    assert (row.path, row.bytes, row.width) == ("cat/1.jpg", 12, None)


@pytest.mark.parametrize(
    "text", ["name,label\na.jpg,cat\n", "url\nhttp://x\n", "\n", '"unclosed\n', "\ufeffurl,label\n"]
)
def test_other_files_are_no_receipts(tmp_path, text):
    file = tmp_path / "receipt.csv"
    file.write_text(text)
    assert not is_receipt(file)
    if text.strip():
        with pytest.raises(DatasetError, match="no receipt"), ReceiptLog(file):
            pass
    assert file.read_text() == text or not text.strip()


def test_counts_reasons_and_what_is_lost():
    rows = (
        ReceiptRow("http://x/1", "cat", "ok", path="cat/1.jpg"),
        ReceiptRow("http://x/2", "cat", "duplicate", path="cat/1.jpg"),
        ReceiptRow("http://x/3", "cat", "failed", "HTTP 404"),
        ReceiptRow("http://x/4", "dog", "failed", "timeout"),
        ReceiptRow("http://x/5", "dog", "failed", "HTTP 404"),
        ReceiptRow("http://x/6", "dog", "conflict", "in two classes"),
        ReceiptRow("http://x/7", "dog", "conflict", "in two classes, dropped"),
        ReceiptRow("http://x/8", "dog", "skipped"),
    )
    receipt = Receipt(None, rows)
    assert receipt.counts == {
        "cat": {"ok": 1, "duplicate": 1, "failed": 1},
        "dog": {"failed": 2, "conflict": 2, "skipped": 1},
    }
    assert receipt.reasons[0] == ("HTTP 404", 2, "http://x/3")
    assert {reason: n for reason, n, _ in receipt.reasons} == {
        "HTTP 404": 2, "timeout": 1, "in two classes": 1,
    }  # fmt: skip
    assert len(receipt.stored) == 1
    assert list(receipt.table.columns) == list(COLUMNS)
    assert len(receipt.table) == len(rows)
