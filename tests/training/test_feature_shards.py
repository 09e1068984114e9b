"""Shards of features: what is written is read, and where they are cut."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.data.failure import Failure
from tellapart.data.file_stamp import file_stamps
from tellapart.data.picture_facts import FACT
from tellapart.training.feature_shards import (
    ShardRows,
    cut,
    read_shard,
    shard_name,
    write_shard,
)

NAMES = st.lists(st.text(max_size=8), unique=True, max_size=900).map(sorted)


def rows(count=5, width=3, dtype=np.float16, facts=True):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(count, width)).astype(dtype).astype(np.float32)
    records = np.zeros(count if facts else 0, FACT)
    if facts:
        records["thumbnail"] = generator.integers(0, 256, records["thumbnail"].shape)
        records["width"] = np.arange(count)
    failures = {1: Failure("\udcff'\n.jpg", "truncated", "it ends \udce9arly")}
    hashes = tuple("" if row == 1 else f"{row:064x}" for row in range(count))
    return ShardRows(values, records, hashes, tuple(f"{row} 1" for row in range(count)), failures)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("facts", [True, False])
def test_what_is_written_is_read(tmp_path, dtype, facts):
    pytest.importorskip("pyarrow")
    written = rows(dtype=dtype, facts=facts)
    name = shard_name("ab" * 32, "/data", ["a.jpg", "\udcff.jpg"])
    write_shard(str(tmp_path), name, written)
    read = read_shard(str(tmp_path), name, 5)
    assert np.array_equal(read.values, written.values)
    assert read.values.dtype == np.float32
    assert np.array_equal(read.facts, written.facts)
    assert (read.sha256, read.stamps, read.failures) == (
        written.sha256,
        written.stamps,
        written.failures,
    )
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name.split("/")[1]]


def test_a_damaged_or_foreign_shard_counts_as_none(tmp_path):
    pytest.importorskip("pyarrow")
    write_shard(str(tmp_path), "a.arrow", rows())
    assert read_shard(str(tmp_path), "b.arrow", 5) is None
    assert read_shard(str(tmp_path), "a.arrow", 6) is None
    whole = (tmp_path / "a.arrow").read_bytes()
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.arrow").write_bytes(whole[:length])
        assert read_shard(str(tmp_path), "a.arrow", 5) is None, length
    generator = np.random.default_rng(0)
    same = rows()
    for place in generator.integers(0, len(whole), 200).tolist():
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(generator.integers(8))
        (tmp_path / "a.arrow").write_bytes(spoilt)
        read = read_shard(str(tmp_path), "a.arrow", 5)
        if read is not None:  # a bit of padding
            assert np.array_equal(read.values, same.values)
            assert np.array_equal(read.facts, same.facts)
            assert (read.sha256, read.stamps, read.failures) == (
                same.sha256, same.stamps, same.failures
            )  # fmt: skip


def test_urls_have_one_shard_wherever_the_command_is_given(tmp_path):
    from tellapart.scale.ray_embed import EmbedJob

    names = [
        [EmbedJob(root, "store", None, "ab" * 32).name(paths) for root in ("/a", "/b")]
        for paths in (["s3://b/1.jpg", "s3://b/2.jpg"], ["1.jpg", "s3://b/2.jpg"])
    ]
    assert names[0][0] == names[0][1]
    assert names[1][0] != names[1][1]


def test_what_has_changed_or_could_not_be_reached_is_looked_at_again():
    known = rows()
    assert known.known([f"{row} 1" for row in range(5)]).tolist() == [True] * 5
    assert known.known(["0 1", "1 1", "2 2", "", "4 1"]).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    for reason, holds in (("not reachable", False), ("missing", False), ("bomb", True)):
        lost = ShardRows(**{**vars(known), "failures": {1: Failure("b", reason)}})
        assert lost.known([f"{row} 1" for row in range(5)]).tolist()[1] is holds


@given(NAMES)
def test_every_path_is_in_one_shard(paths):
    parts = list(cut(paths))
    assert [path for part in parts for path in paths[part]] == paths
    assert all(part.stop - part.start <= 160 for part in parts)
    assert all(part.stop - part.start >= 96 for part in parts[:-1])


def test_a_new_path_makes_few_shards_anew():
    paths = sorted(f"{number:06}.jpg" for number in range(0, 40_000, 2))
    before = {tuple(paths[part]) for part in cut(paths)}
    assert 100 < len(before) < 250
    for new in ("000001.jpg", "019999.jpg", "!.jpg", "zzz.jpg"):
        more = sorted([*paths, new])
        fresh = {tuple(more[part]) for part in cut(more)} - before
        assert 1 <= len(fresh) <= 8, new
    many = [f"{number:06}.jpg" for number in range(100_000)]
    assert 80 < len(list(cut(many))) < 130


def test_names_tell_pictures_places_and_spaces_apart():
    names = {
        shard_name(space, root, paths)
        for space in ("ab" * 32, "cd" * 32)
        for root in ("/data", "/other")
        for paths in (["a", "b"], ["ab"], ["a", "b", "c"], ["b", "a"])
    }
    assert len(names) == 16


def test_stamps_tell_that_a_file_has_changed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"b")
    before = file_stamps(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    assert before[2] == "" != before[0]
    (tmp_path / "a.jpg").write_bytes(b"longer")
    after = file_stamps(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    for name, content in (("c.bmp", b"c"), ("d.bmp", b"d")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1, 1))
    before = file_stamps(tmp_path, ["c.bmp", "d.bmp"])
    (tmp_path / "c.bmp").rename(tmp_path / "e.bmp")
    (tmp_path / "d.bmp").rename(tmp_path / "c.bmp")
    (tmp_path / "e.bmp").rename(tmp_path / "d.bmp")
    after = file_stamps(tmp_path, ["c.bmp", "d.bmp"])
    assert after[0] != before[0]
    assert after[1] != before[1]
