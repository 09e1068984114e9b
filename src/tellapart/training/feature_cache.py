"""Feature vectors and facts on disk, by the content of the picture and all that made them: SQLite.

Safe under kill -9 and under several processes at once (write-ahead log, one transaction a batch), and
bounded: what was used least recently goes first. Losing it costs time and nothing else, so a damaged
one is put aside, and a full disk only means that nothing more is kept. Vectors rest as float16
(docs/benchmarks.md shows what that loses), or as float32 where one does not fit. Facts are of the
picture alone and serve every network; they have a space of their own.
"""

import hashlib
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tellapart.data.picture_facts import FACT

__all__ = ["FeatureCache", "as_stored"]

Vector = NDArray[np.float32]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    space BLOB NOT NULL, sha256 BLOB NOT NULL, used INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS by_content ON features (space, sha256);
CREATE INDEX IF NOT EXISTS by_use ON features (used);
"""
_MOST_VARIABLES = 500
_DAY = 86_400
DEFAULT_BYTES = 8 << 30

_FACTS = 3  # to be raised when data/picture_facts.py computes other numbers
_FACTS_SPACE: Final = hashlib.sha256(f"facts {_FACTS} {FACT.descr}".encode()).digest()


def as_stored(vector: Vector) -> Vector:
    """The vector as it will read back, so that the first run and the second see the same numbers."""
    return _decode(_encode(vector), len(vector))


def _encode(vector: Vector) -> bytes:
    with np.errstate(over="ignore"):
        half = vector.astype("<f2")
    return half.tobytes() if np.isfinite(half).all() else vector.astype("<f4").tobytes()


def _decode(raw: bytes, length: int) -> Vector:
    dtype = {2 * length: "<f2", 4 * length: "<f4"}.get(len(raw))
    if dtype is None:
        raise sqlite3.DatabaseError("a vector of another length")
    return np.frombuffer(raw, dtype).astype(np.float32)


class FeatureCache:
    """Vectors of one space: one backbone, preprocessing, precision and view.

    `space` is a hexadecimal hash of these; `length` is D. Vectors are float32 (D,) in and out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, FeatureCache(Path(folder), "ab", 2) as cache:
    ...     cache.put({"00ff": np.float32([1, 2])})
    ...     cache.get(["00ff", "1234"])
    {'00ff': array([1., 2.], dtype=float32)}
    """

    def __init__(
        self, folder: Path, space: str, length: int, *, most_bytes: int = DEFAULT_BYTES
    ) -> None:
        self._path = folder / "features.sqlite"
        self._space, self._length, self._most_bytes = bytes.fromhex(space), length, most_bytes
        self._database: sqlite3.Connection | None = None
        try:
            self._database = self._open()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:  # locked, full, not writable: the file itself is sound
            raise
        except sqlite3.DatabaseError:  # damaged: put it aside and begin anew
            self._put_aside()
            return _connect(self._path)

    def _put_aside(self) -> None:
        self._path.rename(self._path.with_name(f"features.damaged-{time.time_ns()}.sqlite"))
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _give_up(self, error: Exception) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError
        ):
            with suppress(OSError):
                self._put_aside()
        warnings.warn(
            f"features are not kept for next time: {self._path}: {error}. "
            "Free some space, or choose another folder with TELLAPART_CACHE.",
            RuntimeWarning,
            stacklevel=3,
        )

    def get(self, names: Sequence[str]) -> dict[str, Vector]:
        """The vectors that are kept, by the SHA-256 (hexadecimal) of the pictures' bytes."""
        found = self._read(self._space, names)
        try:
            return {name: _decode(raw, self._length) for name, raw in found.items()}
        except sqlite3.Error as error:
            self._give_up(error)
            return {}

    def get_facts(self, names: Sequence[str]) -> dict[str, np.void]:
        """The facts that are kept, records of `FACT`, likewise."""
        found = self._read(_FACTS_SPACE, names)
        whole = {name: raw for name, raw in found.items() if len(raw) == FACT.itemsize}
        return {name: np.frombuffer(raw, FACT)[0] for name, raw in whole.items()}

    def _read(self, space: bytes, names: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        if self._database is None:
            return found
        try:
            for some in _batches(names):
                marks = ",".join("?" * len(some))
                where = f"space = ? AND sha256 IN ({marks})"
                values = [space, *map(bytes.fromhex, some)]
                rows = self._database.execute(
                    f"SELECT sha256, vector FROM features WHERE {where}",  # noqa: S608
                    values,
                )
                found.update((key.hex(), raw) for key, raw in rows)
                now = int(time.time())
                self._database.execute(
                    f"UPDATE features SET used = ? WHERE {where} AND used < ?",  # noqa: S608
                    [now, *values, now - _DAY],
                )
            self._database.commit()
        except sqlite3.Error as error:
            self._give_up(error)
        return found

    def put(
        self, vectors: Mapping[str, Vector], facts: Mapping[str, np.void] | None = None
    ) -> None:
        """Keep vectors and facts; once this returns, a kill -9 loses none of them."""
        if self._database is None or not (vectors or facts):
            return
        now = int(time.time())
        rows = [(self._space, bytes.fromhex(k), now, _encode(v)) for k, v in vectors.items()]
        rows += [
            (_FACTS_SPACE, bytes.fromhex(k), now, v.tobytes()) for k, v in (facts or {}).items()
        ]
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows
                )
            self._evict()
        except sqlite3.Error as error:
            self._give_up(error)

    def _evict(self) -> None:
        """Down to nine tenths of the bound where it is passed, the least recently used first."""
        assert self._database is not None
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = (pages - free) * size
        if used <= self._most_bytes:
            return
        count = self._database.execute("SELECT count(*) FROM features").fetchone()[0]
        surplus = int(np.ceil(count * (1 - 0.9 * self._most_bytes / used)))
        with self._database:
            self._database.execute(
                "DELETE FROM features WHERE rowid IN "
                "(SELECT rowid FROM features ORDER BY used, rowid LIMIT ?)",
                [surplus],
            )
        self._database.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(path: Path) -> sqlite3.Connection:
    """SQLite does not wait for its lock when several processes make the same new database at once."""
    for _ in range(200):
        try:
            return _connect_once(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
    return _connect_once(path)


def _connect_once(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60)
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _MOST_VARIABLES):
        yield names[start : start + _MOST_VARIABLES]
