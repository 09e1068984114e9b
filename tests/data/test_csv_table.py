"""Tables of pictures as people and programs save them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellapart.data.csv_table import read_csv_table
from tellapart.errors import DatasetError


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "table.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def pairs(file: Path) -> list[tuple[str, str]]:
    rows, failures = read_csv_table(file)
    assert failures == []
    return [(row["path"], row["label"]) for row in rows]


CATS = [("cat/1.jpg", "cat"), ("dog/2.jpg", "dog")]


@pytest.mark.parametrize(
    "content",
    [
        "name,label\ncat/1.jpg,cat\ndog/2.jpg,dog\n",
        "name,label\ncat/1.jpg,cat\ndog/2.jpg,dog",
        "name,label\r\ncat/1.jpg,cat\r\ndog/2.jpg,dog\r\n",
        "name,label\rcat/1.jpg,cat\rdog/2.jpg,dog\r",
        "\ufeffname,label\ncat/1.jpg,cat\ndog/2.jpg,dog\n",
        "name;label\ncat/1.jpg;cat\ndog/2.jpg;dog\n",
        "name\tlabel\ncat/1.jpg\tcat\ndog/2.jpg\tdog\n",
        '"name","label"\n"cat/1.jpg","cat"\n"dog/2.jpg","dog"\n',
        " Name , LABEL \n cat/1.jpg , cat \ndog/2.jpg,dog\n",
        "name,label\n\ncat/1.jpg,cat\n\n\ndog/2.jpg,dog\n\n",
        ",name,label\n0,cat/1.jpg,cat\n1,dog/2.jpg,dog\n",  # with pandas' row numbers
        "label,width,filename\ncat,640,cat/1.jpg\ndog,480,dog/2.jpg\n",
        "image,category\ncat/1.jpg,cat\ndog/2.jpg,dog\n",
        "path,class\ncat/1.jpg,cat\ndog/2.jpg,dog\ncat/1.jpg,cat\n",  # a row twice
    ],
)
def test_many_ways_to_write_one_table(tmp_path: Path, content: str) -> None:
    assert pairs(write(tmp_path, content)) == CATS


def test_quotes_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    content = (
        'name,label\n"a, b.jpg",cat\n"say ""hi"".jpg",dog\n"two\nlines.jpg",dog\nlast.jpg,cat\n'
    )
    assert pairs(write(tmp_path, content)) == [
        ("a, b.jpg", "cat"), ('say "hi".jpg', "dog"), ("two\nlines.jpg", "dog"),
        ("last.jpg", "cat"),
    ]  # fmt: skip


def test_labels_in_two_spellings_are_one(tmp_path: Path) -> None:
    found = pairs(write(tmp_path, "name,label\n1.jpg,Hya\u0308ne\n2.jpg,Hyäne\n"))
    assert [label for _, label in found] == ["Hyäne", "Hyäne"]
    decomposed = pairs(write(tmp_path, "name,label\nHya\u0308ne.jpg,a\n"))
    assert decomposed == [("Hya\u0308ne.jpg", "a")]  # a file's name is left as it is


def test_split_and_group(tmp_path: Path) -> None:
    content = (
        "path,label,split,group\n1.jpg,cat,train,a\n2.jpg,cat,Validation,\n3.jpg,dog,val,a\n"
        "4.jpg,dog,TEST,b\n5.jpg,dog,,\n"
    )
    rows, failures = read_csv_table(write(tmp_path, content))
    assert failures == []
    assert [(row["split"], row["group"]) for row in rows] == [
        ("train", "a"), ("valid", ""), ("valid", "a"), ("test", "b"), ("", ""),
    ]  # fmt: skip


def test_is_valid_as_fastai_writes_it(tmp_path: Path) -> None:
    content = "name,label,is_valid\n" + "".join(
        f"{i}.jpg,cat,{value}\n" for i, value in enumerate(["True", "False", "1", "0", "true", ""])
    )
    rows, failures = read_csv_table(write(tmp_path, content))
    assert failures == []
    assert [row["split"] for row in rows] == ["valid", "train", "valid", "train", "valid", "train"]


def test_an_unknown_is_valid_is_no_training_picture(tmp_path: Path) -> None:
    content = (
        "name,label,is_valid\n1.jpg,cat,True\n2.jpg,cat,perhaps\n3.jpg,cat,1.0\n4.jpg,cat,0.0\n"
    )
    rows, failures = read_csv_table(write(tmp_path, content))
    assert [(row["path"], row["split"]) for row in rows] == [
        ("1.jpg", "valid"), ("3.jpg", "valid"), ("4.jpg", "train"),
    ]  # fmt: skip
    assert [(f.path, f.reason) for f in failures] == [("table.csv line 3", "odd row")]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("x.jpg,cat,train,extra", "odd row", "more than 3 fields"),
        ("x.jpg", "odd row", "no label"),
        ("x.jpg,,train", "odd row", "no label"),
        (",cat,train", "odd row", "no path"),
        ("x.jpg,cat,sometimes", "odd row", "'sometimes'"),
        ("a.jpg,dog,train", "two labels", "a.jpg: 'cat' before, 'dog' here"),
        ("x\0.jpg,cat,", "odd row", "NUL"),
    ],
)
def test_an_odd_row_is_named_and_the_others_are_read(
    tmp_path: Path, row: str, reason: str, detail: str
) -> None:
    content = f"path,label,split\na.jpg,cat,train\n\n{row}\nb.jpg,dog,valid\n"
    rows, failures = read_csv_table(write(tmp_path, content))
    assert [(r["path"], r["label"]) for r in rows] == [("a.jpg", "cat"), ("b.jpg", "dog")]
    assert [(f.path, f.reason) for f in failures] == [("table.csv line 4", reason)]
    assert detail in failures[0].detail


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    content = (
        'name,label\n"two\nlines.jpg",dog\n\n\nx.jpg\n"three\n\nlines.jpg"\ny.jpg\nz.jpg,cat\n'
    )
    rows, failures = read_csv_table(write(tmp_path, content))
    assert len(rows) == 2
    assert [f.path for f in failures] == [f"table.csv line {n}" for n in (6, 7, 10)]


def test_a_quote_that_is_left_open_is_not_taken_for_a_label(tmp_path: Path) -> None:
    content = 'name,label\na.jpg,cat\nb.jpg,"dog\nc.jpg,cat\nd.jpg,cat\n'
    rows, failures = read_csv_table(write(tmp_path, content))
    assert {row["label"] for row in rows} == {"cat"}
    assert [(f.path, f.reason) for f in failures] == [("table.csv line 3", "odd row")]


def test_a_field_without_end(tmp_path: Path) -> None:
    content = "name,label\na.jpg,cat\n" + "x" * 200_000 + ",dog\nb.jpg,dog\n"
    rows, failures = read_csv_table(write(tmp_path, content))
    assert [row["path"] for row in rows] == ["a.jpg", "b.jpg"]
    assert [(f.path, f.reason) for f in failures] == [("table.csv line 3", "odd row")]


# What cannot be used as a whole.


def refused(file: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_csv_table(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_table_without_the_columns(tmp_path: Path) -> None:
    message = refused(write(tmp_path, "cat/1.jpg,cat\ndog/2.jpg,dog\n"))
    assert "its columns are cat/1.jpg, cat" in message
    assert "expected name,label" in message
    assert "expected name,label" in refused(write(tmp_path, "name\n1.jpg\n"))
    assert "expected name,label" in refused(write(tmp_path, "label\ncat\n"))


def test_an_empty_table(tmp_path: Path) -> None:
    assert "expected name,label" in refused(write(tmp_path, ""))
    assert "expected name,label" in refused(write(tmp_path, "\n\n"))
    assert "no usable row" in refused(write(tmp_path, "name,label\n"))
    assert "no usable row" in refused(write(tmp_path, "name,label\n,\n"))


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    assert "not UTF-8 at byte 11" in refused(write(tmp_path, b"name,label\n\xe9t\xe9.jpg,cat\n"))
    assert "not UTF-8" in refused(write(tmp_path, "name,label\n1.jpg,cat\n".encode("utf-16")))


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "nothing.csv")
    assert "directory" in refused(tmp_path)
    assert "columns" in refused(write(tmp_path, b"\x89PNG\n\x1a\n"[1:] + b"\0" * 50))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "disk.csv").open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    assert "is it a table?" in refused(tmp_path / "disk.csv")


# Laws.

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\ufeff'), min_size=1
).map(str.strip).filter(bool)  # fmt: skip


@settings(max_examples=60)
@given(rows=st.dictionaries(TEXT, st.sampled_from(["cat", "dog, small", "Bär"]), min_size=1))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]
) -> None:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text).writerows([("name", "label"), *rows.items()])
    found = pairs(write(tmp_path_factory.mktemp("csv"), text.getvalue()))
    assert found == list(rows.items())


@settings(max_examples=150)
@given(st.text(alphabet='ab,"\n\r\t;\0 é', max_size=60).map("name,label\n".__add__))
def test_any_text_is_a_table_or_a_dataset_error(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    try:
        rows, failures = read_csv_table(write(folder, content))
    except DatasetError:
        return
    assert all(row["path"] and row["label"] for row in rows)
    assert all(failure.path.startswith("table.csv line ") for failure in failures)
