"""Copies by way of indexes of shards: nearly all of those that the exact search finds, also across shards."""

import json
from functools import partial

import numpy as np
import pytest

from tellapart.data.copies import Shards, find_copies
from tellapart.data.copies.shard_index import ShardIndex, merged_neighbours
from tellapart.data.picture_facts import FACT
from tellapart.errors import DatasetError, MissingExtra

pytest.importorskip("usearch")


def points(count, dimensions=32, seed=0):
    """Rows of unit length around some centres, as a network's vectors are."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((30, dimensions))[rng.integers(30, size=count)]
    made += rng.standard_normal((count, dimensions))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def split(rows, shards):
    numbers = np.array_split(np.arange(len(rows)), shards)
    return [ShardIndex.build(rows[own], own) for own in numbers]


def recall_of(found, rows, count):
    """The share of each row's true nearest among those that were found."""
    true = np.argsort(-(rows @ rows.T), axis=1)[:, :count]
    return np.mean([np.isin(own, others).mean() for own, others in zip(true, found, strict=True)])


def test_one_index_finds_nearly_all_and_several_as_many():
    rows = points(3000)
    one, five = (merged_neighbours(split(rows, n), rows, 9)[0] for n in (1, 5))
    assert recall_of(one, rows, 9) > 0.98
    assert recall_of(five, rows, 9) > recall_of(one, rows, 9) - 0.01


def test_neither_threads_nor_the_order_of_shards_change_the_answer():
    rows = points(1000)
    parts = split(rows, 3)
    numbers, cosines = merged_neighbours(parts, rows, 4)
    for again in (
        merged_neighbours(parts, rows, 4, threads=2),
        merged_neighbours(parts[::-1], rows, 4),
    ):
        np.testing.assert_array_equal(numbers, again[0])
        np.testing.assert_array_equal(cosines, again[1])
    np.testing.assert_array_equal(numbers[:, 0], np.arange(1000))
    np.testing.assert_allclose(cosines[:, 0], 1, atol=2e-3)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_the_same_rows_give_the_same_file(tmp_path):
    rows = points(500)
    told = [ShardIndex.build(rows, np.arange(500)).save(tmp_path / name) for name in "ab"]
    assert told[0] == told[1]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = ShardIndex.load(tmp_path / "a", told[0])
    assert (len(read), read.dimensions) == (500, 32)
    np.testing.assert_array_equal(
        read.neighbours(rows, 3)[0], ShardIndex.build(rows, np.arange(500)).neighbours(rows, 3)[0]
    )


def test_fewer_rows_than_asked_for_leave_gaps():
    rows = points(5)
    parts = [
        ShardIndex.build(rows[:0], np.arange(0)),
        ShardIndex.build(rows[:3], np.array([7, 8, 9])),
    ]
    numbers, cosines = merged_neighbours(parts, rows[:1], 5)
    assert sorted(numbers[0, :3].tolist()) == [7, 8, 9]
    assert numbers[0, 3:].tolist() == [-1, -1]
    assert cosines[0, 3:].tolist() == [-2, -2]
    assert merged_neighbours(parts, rows[:0], 5)[0].shape == (0, 5)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def exchanged(path):
    ShardIndex.build(points(200, seed=1), np.arange(200)).save(path.with_name("other"))
    path.write_bytes(path.with_name("other").read_bytes())


def without_receipt(path):
    path.with_name(f"{path.name}.json").unlink()


def of_other_rows(path):
    receipt = path.with_name(f"{path.name}.json")
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "count": 201}))


def gone(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


def with_another_receipt(path):
    path.with_name("x.json").write_text("[]")


DAMAGE = [
    cut,
    changed,
    exchanged,
    without_receipt,
    of_other_rows,
    gone,
    emptied,
    with_another_receipt,
]


@pytest.mark.parametrize("harm", DAMAGE)
def test_a_file_that_is_not_as_it_was_written_is_not_opened(tmp_path, harm):
    path = tmp_path / "x"
    ShardIndex.build(points(200), np.arange(200)).save(path)
    assert len(ShardIndex.load(path)) == 200
    harm(path)
    with pytest.raises(DatasetError, match="built anew"):
        ShardIndex.load(path)


def test_the_receipt_that_was_handed_over_counts_and_not_that_of_the_folder(tmp_path):
    told = ShardIndex.build(points(200), np.arange(200)).save(tmp_path / "x")
    ShardIndex.build(points(200, seed=1), np.arange(200)).save(tmp_path / "x")
    with pytest.raises(DatasetError, match="not the index that was written"):
        ShardIndex.load(tmp_path / "x", told)


def pile(count=3000, seed=0):
    """Simulated pictures in random order, a tenth of them copies: facts, vectors, whose copy each is."""
    rng = np.random.default_rng(seed)
    originals = count - count // 10
    facts = np.zeros(count, FACT)
    facts["width"] = facts["height"] = 480
    coarse = rng.integers(0, 160, (originals, 12, 12, 3)).repeat(4, axis=1).repeat(4, axis=2)
    fine = rng.integers(0, 90, (originals, 24, 24, 3)).repeat(2, axis=1).repeat(2, axis=2)
    facts["thumbnail"][:originals] = coarse + fine
    sources = rng.permutation(originals)[: count // 10]
    for row, source in enumerate(sources, originals):
        facts["thumbnail"][row] = copied(facts["thumbnail"][source], row % 3, rng)
    vectors = points(count, 128, seed)
    vectors[originals:] = vectors[sources] + 0.4 * vectors[originals:]
    order = rng.permutation(count)
    whose = np.concatenate([np.arange(originals), sources])[order]
    return facts[order], vectors[order], whose


def copied(thumbnail, kind, rng):
    if kind == 0:  # encoded again
        return np.clip(thumbnail + rng.normal(0, 4, thumbnail.shape), 0, 255)
    if kind == 1:
        return thumbnail[:, ::-1]
    inner = np.linspace(4, 43, 48).round().astype(int)  # cropped
    return thumbnail[inner][:, inner]


def pairs_of(copies):
    ends = np.sort(np.stack([copies.copy, copies.original], axis=1), axis=1)
    return set(map(tuple, ends.tolist()))


@pytest.fixture(scope="module")
def simulated():
    """Facts, vectors, the hashes, and the pairs of the exact search."""
    facts, vectors, whose = pile()
    hashes = [str(row) for row in range(len(facts))]
    hashes[17] = hashes[2900]  # equal bytes, whatever they look like
    exact = find_copies(hashes, facts, vectors)
    planted = pairs_of(exact)
    assert sum(whose[a] == whose[b] for a, b in planted) > 270
    return facts, vectors, hashes, planted


@pytest.mark.parametrize("shards", [1, 4])
def test_an_index_proposes_the_pairs_that_the_exact_search_does(simulated, tmp_path, shards):
    facts, vectors, hashes, exact = simulated
    found = find_copies(hashes, facts, vectors, search=Shards(tmp_path, 3000 // shards, above=100))
    pairs = pairs_of(found)
    assert len(list(tmp_path.glob("main-*.usearch"))) == -(-2999 // (3000 // shards))
    assert len(pairs & exact) >= 0.98 * len(exact)
    assert len(pairs - exact) <= 0.01 * len(exact)
    assert (17, 2900) in pairs
    inside = {(a, b) for a, b in exact if a * shards // 3000 == b * shards // 3000}
    for kind in (inside, exact - inside):
        assert len(pairs & kind) >= 0.98 * len(kind)
    assert shards == 1 or len(exact - inside) > 180


def test_few_pictures_are_compared_exactly_without_an_index(simulated, tmp_path):
    facts, vectors, hashes, _ = simulated
    hashes, facts, vectors = hashes[:400], facts[:400], vectors[:400]
    told = find_copies(hashes, facts, vectors, search=Shards(tmp_path / "none", 100))
    for name, value in vars(find_copies(hashes, facts, vectors)).items():
        np.testing.assert_array_equal(getattr(told, name), value)
    assert not (tmp_path / "none").exists()


class Stored:
    """Vectors that can be had a few at a time alone."""

    def __init__(self, values):
        self.values, self.shape, self.most = values, values.shape, 0

    def __getitem__(self, key):
        assert isinstance(key, slice)
        self.most = max(self.most, key.stop - key.start)
        return self.values[key]


def small(simulated):
    facts, vectors, hashes, _ = simulated
    return hashes[:600], facts[:600], vectors[:600]


def test_vectors_that_can_only_be_sliced_give_the_same(simulated, tmp_path):
    hashes, facts, vectors = small(simulated)
    stored = Stored(vectors)
    search = partial(Shards, size=200, above=100)
    one = find_copies(hashes, facts, vectors, search=search(tmp_path / "a"))
    two = find_copies(hashes, facts, stored, search=search(tmp_path / "b"))
    assert pairs_of(one) == pairs_of(two)
    assert len(one) > 5


def test_what_is_there_is_kept_and_what_is_damaged_or_of_others_is_built_anew(simulated, tmp_path):
    hashes, facts, vectors = small(simulated)
    seen, shards = [], Shards(tmp_path, 200, above=100, report=lambda *call: seen.append(call))
    first = pairs_of(find_copies(hashes, facts, vectors, search=shards))
    assert seen == [("neighbours", done, 6) for done in range(1, 7)]
    times = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}

    def built():
        return {f.name for f in tmp_path.iterdir() if times.get(f.name) != f.stat().st_mtime_ns}

    assert pairs_of(find_copies(hashes, facts, vectors, search=shards)) == first
    assert built() == set()
    changed(tmp_path / "look-00001.usearch")
    (tmp_path / "main-00002.usearch.json").unlink()
    cut(tmp_path / "pairs-00000.safetensors")
    assert pairs_of(find_copies(hashes, facts, vectors, search=shards)) == first
    assert {name.split(".")[0] for name in built()} == {"look-00001", "main-00002", "pairs-00000"}
    others = vectors.copy()
    others[450] += 1
    find_copies(hashes, facts, others, search=shards)
    assert {f"pairs-0000{shard}.safetensors" for shard in range(3)} <= built()


def test_a_run_that_ended_early_is_gone_on_with(simulated, tmp_path, monkeypatch):
    hashes, facts, vectors = small(simulated)
    build, calls = ShardIndex.build, []

    def failing(rows, numbers):
        calls.append(len(rows))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return build(rows, numbers)

    monkeypatch.setattr(ShardIndex, "build", failing)
    with pytest.raises(KeyboardInterrupt):
        find_copies(hashes, facts, vectors, search=Shards(tmp_path, 200, above=100))
    find_copies(hashes, facts, vectors, search=Shards(tmp_path, 200, above=100))
    assert len(calls) == 4 + 3  # of six indexes three were there


def test_without_usearch_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    with pytest.raises(MissingExtra, match=r"tellapart\[ray\]"):
        ShardIndex.build(points(3), np.arange(3))
