"""The receipt's file: nothing that was written is lost, whatever is written and whenever it ends."""

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
    write_receipt,
)
from tellapart.errors import DatasetError

TEXT = st.text(max_size=12)
PLAIN = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=12)
NUMBER = st.none() | st.integers(0, 10**12)
ROWS = st.builds(
    ReceiptRow, PLAIN, PLAIN, st.sampled_from(STATUSES), TEXT, NUMBER, st.integers(0, 9), TEXT,
    NUMBER, NUMBER, NUMBER, TEXT, TEXT, st.floats(0, 1e6), TEXT, TEXT,
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
    expected = {row.key: row for row, end in zip(rows, ends, strict=True) if end <= at}
    assert list(read_receipt(file)) == list(expected)
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
