"""Who copies whom is found once, and again where what was kept is of no use."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from tellapart.data.copies import find_copies
from tellapart.data.picture_facts import FACT
from tellapart.training.known_copies import known_copies

HASHES = ["a", "b", "c", "a"]


@pytest.fixture
def find():
    """`find()` gives the copies of four pictures; `find.calls` says how often it was asked."""
    rng = np.random.default_rng(0)
    facts = np.zeros(4, FACT)
    facts["width"] = facts["height"] = 64
    facts["thumbnail"] = rng.integers(0, 256, (4, 48, 48, 3))
    facts["thumbnail"][2] = facts["thumbnail"][0][:, ::-1]
    vectors = rng.random((4, 8), np.float32)
    vectors[2] = vectors[0]

    def found():
        found.calls += 1
        return find_copies(HASHES, facts, vectors)

    found.calls = 0
    return found


def same(one, other):
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


def test_the_second_time_nothing_is_compared(tmp_path, find):
    first = known_copies(tmp_path, "s", HASHES, find)
    assert first.kinds.tolist() == ["exact", "mirrored"]
    assert same(first, known_copies(tmp_path, "s", HASHES, find))
    assert find.calls == 1


@pytest.mark.parametrize(("space", "hashes"), [("t", HASHES), ("s", ["a", "b", "d", "a"])])
def test_other_pictures_or_vectors_are_compared_anew(tmp_path, find, space, hashes):
    known_copies(tmp_path, "s", HASHES, find)
    known_copies(tmp_path, space, hashes, find)
    assert find.calls == 2


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nonsense", "cut", "foreign"])
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path, find, damage):
    first = known_copies(tmp_path, "s", HASHES, find)
    (file,) = (tmp_path / "copies").iterdir()
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "foreign":
        file.write_bytes(save({**load(file.read_bytes()), "copy": first.copy + 4}))
    else:
        file.write_bytes(damage)
    assert same(first, known_copies(tmp_path, "s", HASHES, find))
    assert find.calls == 2
    known_copies(tmp_path, "s", HASHES, find)
    assert find.calls == 2


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path, find):
    (tmp_path / "copies").write_text("in the way")
    assert known_copies(tmp_path, "s", HASHES, find).kinds.tolist() == ["exact", "mirrored"]


def test_the_oldest_go_first(tmp_path, find, monkeypatch):
    monkeypatch.setattr("tellapart.training.known_copies._MOST_KEPT", 2)
    for space in "abc":
        known_copies(tmp_path, space, HASHES, find)
    assert len(list((tmp_path / "copies").iterdir())) == 2
    known_copies(tmp_path, "c", HASHES, find)
    assert find.calls == 3
