"""Files that are there whole or not at all."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tellapart.data.atomic_file import write_atomically


def test_bytes_and_text_are_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.bin", b"\0\xff\r\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\xff\r\n"
    write_atomically(tmp_path / "a.txt", "Kätzchen\n")
    assert (tmp_path / "a.txt").read_bytes() == "Kätzchen\n".encode()


def test_names_that_are_not_utf8_come_back_as_the_bytes_they_were(tmp_path: Path) -> None:
    write_atomically(tmp_path / "paths.txt", os.fsdecode(b"caf\xe9.jpg"))
    assert (tmp_path / "paths.txt").read_bytes() == b"caf\xe9.jpg"


def test_folders_are_made_and_old_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomically(path, "a long old text")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["c.txt"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "漢" * 85, "𝒳" * 63], ids=len)
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically(Path("a.txt"), "here")
    assert (tmp_path / "a.txt").read_text() == "here"


def fails(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_atomically(tmp_path / "a.txt", "old")
    monkeypatch.setattr(*(os, "fsync") if call == "fsync" else (Path, "replace"), fails)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_content_reaches_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fsync = os.fsync

    def watch(handle: int) -> None:
        seen.append((os.fstat(handle).st_size, (tmp_path / "a.txt").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(tmp_path / "a.txt", "12345")
    assert (5, False) in seen


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """The mask belongs to the whole process: were it changed for a moment, another thread's files
    would be open to others, and two threads could leave it changed."""
    change = os.umask
    old = change(mask)
    try:
        monkeypatch.setattr(os, "umask", fails)
        (tmp_path / "usual.txt").touch()
        write_atomically(tmp_path / "ours.txt", "a")
    finally:
        change(old)
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual.txt", "ours.txt"))
    assert ours == usual


def test_many_threads_write_at_once(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for i in range(20):
            write_atomically(tmp_path / f"{i}", f"{number} {i}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(20)))
    assert all(path.read_text().endswith(f" {path.name}") for path in tmp_path.iterdir())


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    versions = [bytes([i]) * 100_000 for i in range(20)]
    write_atomically(path, versions[0])
    odd: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if (content := path.read_bytes()) not in versions:
                odd.append(len(content))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        write_atomically(path, version)
    stop.set()
    reader.join()
    assert odd == []


def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from tellapart.data.atomic_file import write_atomically\n"
        "for i in itertools.count():\n"
        "    write_atomically(Path(sys.argv[1]), bytes([i % 256]) * 3_000_000)\n"
        "    if i == 3: print('begun', flush=True)\n"
    )
    path = tmp_path / "a.bin"
    for delay in (0.0, 0.003, 0.011):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            threading.Event().wait(delay)
            process.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
