"""The journal: every decision ever made, in one SQLite file to which lines are only added.

    entries   a line per decision, or per decision undone; triggers refuse to change or delete any
    batches   what was sent together, by a key of the sender's: sent again it changes nothing
    facts     which pictures they are about

Write-ahead log, each batch one transaction that is on the disk when `append` returns, so that a
kill -9 loses nothing. Several threads and processes may use one journal at a time. It is the user's
work: a damaged one is never put aside or deleted.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from tellapart.data.plain_text import plain
from tellapart.errors import DatasetError
from tellapart.review.decisions import Decision, Entry

__all__ = ["Journal"]

_FORMAT: Final = 1
_APPLICATION: Final = 0x54415031  # "TAP1": says in the file's head whose it is
_WAIT = 30.0  # seconds for another process to finish writing
_TRIES = 200  # SQLite does not wait where two processes make the same new file

_COLUMNS: Final = "id, at, who, batch, path, sha256, action, label, why, undoes"

# Paths and labels are BLOBs of UTF-8, since names need not be valid in it. Without the triggers on
# INSERT, "INSERT OR REPLACE" would pass by the others.
_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE batches (key TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    batch TEXT NOT NULL,
    place INTEGER NOT NULL,
    path BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('keep', 'relabel', 'remove', 'unsure', 'undo')),
    label BLOB,
    why TEXT NOT NULL,
    undoes INTEGER UNIQUE REFERENCES entries,
    UNIQUE (batch, place),
    CHECK ((action = 'relabel') = (label IS NOT NULL)),
    CHECK ((action = 'undo') = (undoes IS NOT NULL))
);
CREATE INDEX by_person ON entries (who, id);
"""
_SAME = {
    "entries": "id = NEW.id OR (batch = NEW.batch AND place = NEW.place) OR undoes = NEW.undoes",
    "batches": "key = NEW.key",
    "facts": "name = NEW.name",
}
_GUARD: Final = """
CREATE TRIGGER no_update_of_{table} BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;
CREATE TRIGGER no_delete_of_{table} BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;
CREATE TRIGGER no_replacement_in_{table} BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END;
"""


class Journal:
    """The journal in `file`, which is made where it is not there.

    `root` and `classes` say which data it is about; with `create=False` it has to be there already.

    Raises DatasetError, with the next step, where the file is damaged, of another program, of an unknown
    format, about other data, or cannot be read or written. The same where a disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(Path(folder) / "review.sqlite", root="photos", classes=["cat", "dog"]) as journal:
    ...         journal.append("batch-1", "ann", [Decision("1.png", "", "relabel", "dog")])
    ...         [(entry.path, entry.label) for entry in journal.since(0)]
    1
    [('1.png', 'dog')]
    """

    def __init__(
        self,
        file: str | Path,
        *,
        root: str | Path,
        classes: Sequence[str],
        create: bool = True,
    ) -> None:
        self.file = Path(file)
        self._lock = threading.Lock()
        if not create and not self.file.exists():
            raise DatasetError(
                f"{self.file} does not exist: nothing has been decided yet. Look through the pictures "
                "first: tellapart clean, without --apply; or name another journal with --journal"
            )
        with self._explained("opened"):
            if create:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._connect()
            self._place = self.file.absolute()
            self._identity = self._place.stat().st_ino
        try:
            with self._explained("read"):
                self._check(os.fspath(Path(root).resolve()), list(classes))
        except BaseException:
            self._database.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """SQLite does not wait for its lock where two processes make the same new file at once."""
        for _ in range(_TRIES):
            database = sqlite3.connect(
                self.file, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up(database)
                return database
            except sqlite3.OperationalError as error:
                database.close()
                if "locked" not in str(error):
                    raise
                time.sleep(0.05)
            except BaseException:
                database.close()
                raise
        raise sqlite3.OperationalError("database is locked")

    def _set_up(self, database: sqlite3.Connection) -> None:
        """Looks before anything is written: the file may be somebody else's."""
        if _is_new(database):
            database.execute("PRAGMA journal_mode = WAL")
            with _transaction(database):
                if _is_new(database):
                    guards = (
                        _GUARD.format(table=table, same=same) for table, same in _SAME.items()
                    )
                    for statement in _statements(_SCHEMA + "".join(guards)):
                        database.execute(statement)
                    database.execute(f"PRAGMA application_id = {_APPLICATION}")
                    database.execute(f"PRAGMA user_version = {_FORMAT}")
        if _pragma(database, "application_id") != _APPLICATION:
            raise DatasetError(
                f"{self.file} is no journal of tellapart; choose another --journal FILE"
            )
        if (found := _pragma(database, "user_version")) != _FORMAT:
            raise DatasetError(
                f"{self.file} has format {found}; this version of tellapart reads format {_FORMAT}. "
                "Update tellapart, or choose another --journal FILE"
            )
        database.execute("PRAGMA synchronous = FULL")
        damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)

    def _check(self, root: str, classes: list[str]) -> None:
        """Which data it is about is written once, and compared ever after."""
        wanted = {"root": json.dumps(root), "classes": json.dumps(classes)}
        with self._lock, _transaction(self._database):
            known: dict[str, str] = dict(self._database.execute("SELECT name, value FROM facts"))
            if not known:
                self._database.executemany("INSERT INTO facts VALUES (?, ?)", wanted.items())
        if known and known != wanted:
            was = json.loads(known.get("root", '""'))
            other = (
                f"about the pictures in {was}, not {root}"
                if was != root
                else f"about other classes ({_listed(json.loads(known['classes']))}) than the data has "
                f"now ({_listed(classes)})"
            )
            raise DatasetError(
                f"{self.file} is {other}. Keep it, and begin another one with --journal FILE"
            )

    def _check_place(self) -> None:
        """SQLite would go on with a file that was deleted, and all would be lost in the end."""
        if self._place.stat().st_ino != self._identity:
            raise DatasetError(
                f"{self.file} is another file than when it was opened; end this command and start it again"
            )

    def append(self, key: str, who: str, decisions: Sequence[Decision]) -> int:
        """Keep a batch of decisions of one person; the number of the newest entry then.

        On the disk, as a whole, when this returns. A `key` that is known already changes nothing, and
        gives the answer that it gave before. `who` and what was said (`why`) are for people, and kept as
        `plain` shows them. Raises DatasetError where it cannot be kept.
        """

        def rows() -> list[tuple[Any, ...]]:
            return [
                (_to_blob(d.path), d.sha256, d.action, _to_blob(d.label), plain(d.why), None)
                for d in decisions
            ]

        return self._add(key, plain(who), rows)

    def undo(self, key: str, who: str) -> tuple[int, list[str]]:
        """Undo the newest batch of this person that is not undone; the newest entry then, and its paths.

        With another key again: the batch before it, and so on; no paths where none is left. The
        same key again changes nothing, and gives the answer that it gave before.
        """
        who = plain(who)

        def rows() -> list[tuple[Any, ...]]:
            of_one = (
                "SELECT {} FROM entries AS e WHERE who = ? AND undoes IS NULL {} AND NOT EXISTS "
                "(SELECT 1 FROM entries WHERE undoes = e.id) ORDER BY id"
            )
            newest = self._database.execute(
                of_one.format("batch", "") + " DESC LIMIT 1", (who,)
            ).fetchone()
            if newest is None:
                return []
            found = self._database.execute(
                of_one.format("path, sha256, 'undo', NULL, '', id", "AND batch = ?"),
                (who, newest[0]),
            )
            return found.fetchall()

        last = self._add(key, who, rows)
        with self._lock, self._explained("read"):
            undone = self._database.execute(
                "SELECT path FROM entries WHERE batch = ? AND undoes IS NOT NULL ORDER BY place",
                (key,),
            ).fetchall()
        return last, [_from_blob(path) for (path,) in undone]

    def _add(self, key: str, who: str, rows: Callable[[], list[tuple[Any, ...]]]) -> int:
        """One transaction. What `rows` gives is asked for within it."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._lock, self._explained("written"), _transaction(self._database):
            self._check_place()
            known = self._database.execute(
                "SELECT last FROM batches WHERE key = ?", (key,)
            ).fetchone()
            if known is not None:
                return int(known[0])
            self._database.executemany(
                "INSERT INTO entries (at, who, batch, place, path, sha256, action, label, why, undoes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(at, who, key, place, *row) for place, row in enumerate(rows())],
            )
            newest = self._database.execute("SELECT max(id) FROM entries").fetchone()[0]
            self._database.execute("INSERT INTO batches VALUES (?, ?)", (key, newest or 0))
        return int(newest or 0)

    def since(self, number: int) -> list[Entry]:
        """The entries after this one, in order; 0 for all."""
        with self._lock, self._explained("read"):
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE id > ? ORDER BY id",  # noqa: S608
                (number,),
            ).fetchall()
        return [_entry(row) for row in rows]

    def history(self, path: str) -> list[tuple[Entry, bool]]:
        """The decisions about one picture, the oldest first, and whether each is undone."""
        with self._lock, self._explained("read"):
            rows = self._database.execute(
                f"SELECT {_COLUMNS}, EXISTS (SELECT 1 FROM entries WHERE undoes = e.id) "  # noqa: S608
                "FROM entries AS e WHERE path = ? AND undoes IS NULL ORDER BY id",
                (_to_blob(path),),
            ).fetchall()
        return [(_entry(row[:-1]), bool(row[-1])) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """What SQLite or the disk has against it becomes a DatasetError with the next step."""
        try:
            yield
        except OSError as error:
            raise DatasetError(
                f"{self.file} cannot be {done}: {error.strerror or error}. "
                "Choose another --journal FILE"
            ) from None
        except sqlite3.OperationalError as error:
            raise DatasetError(
                f"{self.file} cannot be {done}: {error}. What it holds is kept; make room or allow "
                "writing, and do it again"
            ) from None
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a fault of ours, not of the file
                raise
            raise DatasetError(
                f"{self.file} is damaged, or no journal ({plain(str(error))}); it was left as it is. "
                "Put a copy of it in its place, or begin another one with --journal FILE"
            ) from None


def _is_new(database: sqlite3.Connection) -> bool:
    """Whether nothing is in the file yet, as after a kill -9 while it was made."""
    empty = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    return (
        empty and not _pragma(database, "user_version") and not _pragma(database, "application_id")
    )


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Begins as a writer, so that nobody else writes between what is read and what is written."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit in between."""
    waiting = ""
    for line in script.splitlines(keepends=True):
        waiting += line
        if sqlite3.complete_statement(waiting):
            yield waiting
            waiting = ""


def _to_blob(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _from_blob(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _entry(row: Sequence[Any]) -> Entry:
    number, at, who, batch, path, sha256, action, label, why, undoes = row
    own = None if label is None else _from_blob(label)
    return Entry(number, at, who, batch, _from_blob(path), sha256, action, own, why, undoes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
