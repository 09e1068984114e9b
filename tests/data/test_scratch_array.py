"""Large arrays rest in a file that nobody sees."""

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from tellapart.data import scratch_array as module
from tellapart.data.scratch_array import scratch_array
from tellapart.errors import DatasetError

SHAPE = (700, 1000)


@pytest.fixture
def bound(monkeypatch):
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 4 * SHAPE[0] * SHAPE[1] - 1)


def open_files_below(folder):
    """What this process maps below a folder; files without a name too."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def test_up_to_the_bound_no_file(bound, tmp_path):
    array = scratch_array((SHAPE[0], SHAPE[1] - 1), tmp_path / "cache")
    assert not array.any()
    assert not open_files_below(tmp_path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fallocate", [True, False])
def test_above_the_bound_a_file_without_a_name(bound, tmp_path, monkeypatch, fallocate):
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate")
    array = scratch_array(SHAPE, tmp_path / "cache")
    assert array.dtype == np.float32
    assert array.shape == SHAPE
    assert not array.any()
    array[[3, -1]] = np.arange(1000)
    assert array.sum(dtype=np.float64) == 2 * 499_500
    assert len(open_files_below(tmp_path)) == 1
    assert list((tmp_path / "cache").iterdir()) == []
    rows = array[1:]
    del array
    assert rows[-1, -1] == 999
    del rows
    gc.collect()
    assert not open_files_below(tmp_path)


def test_its_room_is_taken_at_once(bound, tmp_path, monkeypatch):
    """Where it is not, a disk that fills up later kills the process."""
    taken = []
    monkeypatch.setattr(os, "posix_fallocate", lambda handle, *place: taken.append(place))
    monkeypatch.setattr(module.mmap, "mmap", lambda handle, size: bytearray(size))
    scratch_array(SHAPE, tmp_path)
    assert taken == [(0, 4 * SHAPE[0] * SHAPE[1])]


def test_a_full_disk_is_told_with_the_next_step(bound, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"No space left.*700 .*TELLAPART_CACHE") as caught:
        scratch_array(SHAPE, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
