"""The cache on disk: what it keeps, what it survives, how large it grows."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tellapart.data.picture_facts import FACT
from tellapart.training import feature_cache as module
from tellapart.training.feature_cache import FeatureCache, as_stored

SPACE = "ab" * 32


def name(i):
    return f"{i:064x}"


def vectors(numbers, length=8):
    return {name(i): np.full(length, i, np.float32) for i in numbers}


def facts(numbers):
    records = {name(i): np.zeros(1, FACT) for i in numbers}
    for i, record in zip(numbers, records.values(), strict=True):
        record["width"], record["thumbnail"] = i, i % 256
    return {key: record[0] for key, record in records.items()}


def test_facts_serve_every_space_and_vectors_their_own(tmp_path):
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors([1]), facts([1, 2]))
        cache.put({}, facts([3]))
        assert list(cache.get([name(i) for i in range(9)])) == [name(1)]
    with FeatureCache(tmp_path, "cd" * 32, 5) as other:
        found = other.get_facts([name(i) for i in range(2000)])
        assert other.get([name(1)]) == {}
    assert sorted(found) == [name(1), name(2), name(3)]
    assert found[name(3)].tobytes() == facts([3])[name(3)].tobytes()
    assert found[name(3)].dtype == FACT


def test_facts_of_another_version_are_not_known(tmp_path, monkeypatch):
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors([1]), facts([1]))
    monkeypatch.setattr(module, "_FACTS_SPACE", b"another")
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        assert cache.get_facts([name(1)]) == {}
        assert list(cache.get([name(1)])) == [name(1)]


def test_facts_count_for_the_bound_too(tmp_path):
    bound = 1 << 20
    with FeatureCache(tmp_path, SPACE, 8, most_bytes=bound) as cache:
        for start in range(0, 500, 50):
            cache.put(vectors(range(start, start + 50)), facts(range(start, start + 50)))
        kept = cache.get_facts([name(i) for i in range(500)])
    assert (tmp_path / "features.sqlite").stat().st_size < 1.5 * bound
    assert 50 < len(kept) < 160
    assert name(499) in kept
    assert name(0) not in kept


def test_keeps_vectors_apart_by_space(tmp_path):
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors([1, 2]))
    with FeatureCache(tmp_path, "cd" * 32, 8) as other:
        assert other.get([name(1)]) == {}
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        found = cache.get([name(i) for i in range(2000)])
    assert sorted(found) == [name(1), name(2)]
    np.testing.assert_array_equal(found[name(2)], np.full(8, 2, np.float32))


@given(arrays(np.float32, 8, elements=st.floats(-1e6, 1e6, width=32)))
def test_reads_back_what_as_stored_says(vector):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder, FeatureCache(Path(folder), SPACE, 8) as cache:
        cache.put({name(0): vector})
        found = cache.get([name(0)])[name(0)]
    np.testing.assert_array_equal(found, as_stored(vector))
    np.testing.assert_allclose(found, vector, rtol=1e-3, atol=1e-7)


def test_grows_no_further_than_its_bound(tmp_path):
    length, bound = 1000, 1 << 20
    with FeatureCache(tmp_path, SPACE, length, most_bytes=bound) as cache:
        for start in range(0, 2000, 100):
            cache.put(vectors(range(start, start + 100), length))
        kept = cache.get([name(i) for i in range(2000)])
    assert (tmp_path / "features.sqlite").stat().st_size < 1.5 * bound
    assert 200 < len(kept) < 600
    assert name(1999) in kept
    assert name(0) not in kept


def test_a_damaged_file_is_put_aside(tmp_path):
    (tmp_path / "features.sqlite").write_bytes(b"no database at all" * 1000)
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors([1]))
        assert name(1) in cache.get([name(1)])
    assert list(tmp_path.glob("features.damaged-*"))


def test_a_file_that_is_damaged_inside_is_put_aside_too(tmp_path):
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors(range(3000)))
    database = tmp_path / "features.sqlite"
    content = bytearray(database.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    database.write_bytes(content)
    with FeatureCache(tmp_path, SPACE, 8) as cache, pytest.warns(RuntimeWarning, match="malformed"):
        cache.get([name(i) for i in range(3000)])
    assert list(tmp_path.glob("features.damaged-*"))
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache.put(vectors([1]))
        assert name(1) in cache.get([name(1)])


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="TELLAPART_CACHE"):
        cache = FeatureCache(tmp_path / "file" / "below", SPACE, 8)
    cache.put(vectors([1]))
    assert cache.get([name(1)]) == {}


def test_a_full_disk_costs_time_and_nothing_else(tmp_path):
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        cache._database.execute("PRAGMA max_page_count = 12")
        many = vectors(range(2000))
        with pytest.warns(RuntimeWarning, match="full"):
            cache.put(many)


def test_two_writers_at_once_lose_nothing(tmp_path):
    def write(start):
        with FeatureCache(tmp_path, SPACE, 8) as cache:
            for i in range(start, start + 100, 5):
                cache.put(vectors(range(i, i + 5)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [0, 100, 200, 300]))
    with FeatureCache(tmp_path, SPACE, 8) as cache:
        assert len(cache.get([name(i) for i in range(400)])) == 400


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tellapart.training.feature_cache import FeatureCache
with FeatureCache(Path(sys.argv[1]), "ab" * 32, 512) as cache:
    for i in range(1_000_000):
        cache.put({f"{i:064x}": np.full(512, i % 1000, np.float32)})
        print(i, flush=True)
"""


def test_what_was_reported_kept_survives_kill_9(tmp_path):
    for moment in (0.02, 0.11, 0.23):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "0\n"
            time.sleep(moment)
            os.kill(process.pid, signal.SIGKILL)
            last = int(["0", *process.stdout.read().split()][-1])
        with FeatureCache(tmp_path, SPACE, 512) as cache:
            found = cache.get([name(i) for i in range(last + 1)])
        assert len(found) == last + 1
        database = sqlite3.connect(tmp_path / "features.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()
