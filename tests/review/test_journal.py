"""The journal: nothing is lost, changed or counted twice, whoever writes and whatever happens."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellapart.errors import DatasetError
from tellapart.review.decisions import ACTIONS, Decision, Standing
from tellapart.review.journal import Journal

CLASSES = ("cat", "dog")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "review.sqlite"


def opened(file, **options):
    return Journal(file, **{"root": "photos", "classes": CLASSES, **options})


def decision(path, action="keep"):
    return Decision(path, "0" * 64, action, "dog" if action == "relabel" else None, f"why {path}")


def standing(journal):
    found = Standing()
    found.add(journal.since(0))
    return {path: entry.action for path, entry in found.all().items()}


def test_what_was_appended_is_read_back(file):
    hostile = ["a\udcff.png", "<img onerror=x>\n.png", "🎉 .png", "'; DROP TABLE entries; --"]
    with opened(file) as journal:
        assert journal.append("batch-1", "ann", [decision(p, "relabel") for p in hostile]) == 4
        assert journal.append("batch-2", "🎉", [Decision("b", "", "relabel", "d\udce9")]) == 5
    with opened(file) as journal:
        entries = journal.since(0)
        assert [e.path for e in entries[:4]] == hostile
        assert [e.number for e in entries] == [1, 2, 3, 4, 5]
        assert entries[0].label == "dog"
        assert entries[4].label == "d\udce9"
        assert entries[3].why == f"why {hostile[3]}"
        assert entries[0].why == r"why a\udcff.png"
        assert (entries[4].who, entries[4].batch) == ("🎉", "batch-2")
        assert entries[0].at.endswith("Z")
        assert len(entries[0].at) == 20
        assert [e.number for e in journal.since(4)] == [5]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET action = 'keep'",
        "DELETE FROM entries",
        "UPDATE batches SET last = 0",
        "DELETE FROM batches",
        "UPDATE facts SET value = 'x'",
        "DELETE FROM facts",
        "INSERT OR REPLACE INTO facts VALUES ('root', 'x')",
        "INSERT OR REPLACE INTO batches VALUES ('batch-1', 9)",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries",
        "INSERT OR REPLACE INTO entries (at, who, batch, place, path, sha256, action, why) "
        "VALUES ('', 'ann', 'batch-1', 0, x'00', '', 'keep', '')",
        "INSERT OR REPLACE INTO entries (at, who, batch, place, path, sha256, action, why, undoes) "
        "VALUES ('', 'ann', 'batch-9', 0, x'00', '', 'undo', '', 1)",
    ],
)
def test_it_is_only_added_to(file, statement):
    with opened(file) as journal:
        journal.append("batch-1", "ann", [decision("a", "remove")])
        journal.undo("batch-2", "ann")
        before = journal.since(0)
        database = sqlite3.connect(file)
        with pytest.raises(sqlite3.IntegrityError, match="only added to"):
            database.execute(statement)
        database.close()
        assert journal.since(0) == before


@pytest.mark.parametrize(
    "values",
    [
        "'', 'a', 'k', 0, x'00', '', 'burn', NULL, '', NULL",
        "'', 'a', 'k', 0, x'00', '', 'relabel', NULL, '', NULL",
        "'', 'a', 'k', 0, x'00', '', 'keep', x'00', '', NULL",
        "'', 'a', 'k', 0, x'00', '', 'keep', NULL, '', 1",
        "'', 'a', 'k', 0, x'00', '', 'undo', NULL, '', NULL",
    ],
)
def test_what_is_no_decision_is_refused_by_the_file_itself(file, values):
    with opened(file) as journal:
        journal.append("batch-1", "ann", [decision("a")])
        database = sqlite3.connect(file)
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(
                "INSERT INTO entries (at, who, batch, place, path, sha256, action, label, why, undoes) "
                f"VALUES ({values})"
            )
        database.close()


def test_the_same_key_again_changes_nothing(file):
    with opened(file) as journal:
        assert journal.append("batch-1", "ann", [decision("a"), decision("b")]) == 2
        assert journal.append("batch-2", "ann", [decision("c")]) == 3
        assert journal.append("batch-1", "ann", [decision("a"), decision("b")]) == 2
        assert journal.append("batch-1", "bob", [decision("z")]) == 2
        assert journal.undo("undo-1", "ann") == (4, ["c"])
        assert journal.undo("undo-1", "ann") == (4, ["c"])
        assert len(journal.since(0)) == 4
    with opened(file) as journal:
        assert journal.undo("undo-1", "ann") == (4, ["c"])
        assert journal.append("batch-2", "ann", [decision("c")]) == 3


def test_an_undo_of_nothing_stays_one(file):
    with opened(file) as journal:
        assert journal.undo("undo-1", "ann") == (0, [])
        journal.append("batch-1", "ann", [decision("a")])
        assert journal.undo("undo-1", "ann") == (0, [])
        assert standing(journal) == {"a": "keep"}


def test_undo_goes_further_and_further_back_and_knows_its_person(file):
    with opened(file) as journal:
        journal.append("batch-1", "ann", [decision("a", "remove"), decision("b", "remove")])
        journal.append("batch-2", "bob", [decision("a", "relabel")])
        journal.append("batch-3", "ann", [decision("a", "unsure")])
        assert standing(journal) == {"a": "unsure", "b": "remove"}
        assert journal.undo("undo-1", "ann")[1] == ["a"]
        assert standing(journal) == {"a": "relabel", "b": "remove"}
        assert journal.undo("undo-2", "ann")[1] == ["a", "b"]
        assert standing(journal) == {"a": "relabel"}
        assert journal.undo("undo-3", "ann")[1] == []
        assert journal.undo("undo-4", "bob")[1] == ["a"]
        assert standing(journal) == {}
        assert [(e.action, undone) for e, undone in journal.history("a")] == [
            ("remove", True), ("relabel", True), ("unsure", True),
        ]  # fmt: skip


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ann", "bob")),
        st.one_of(
            st.just("undo"),
            st.lists(
                st.tuples(st.sampled_from("abcd"), st.sampled_from(ACTIONS)), min_size=1, max_size=4
            ),
        ),
        st.booleans(),  # sent twice
    ),
    max_size=14,
)


class Model:
    """The same thing said simply: batches, some of them undone."""

    def __init__(self):
        self.batches = []

    def do(self, who, what):
        if what != "undo":
            self.batches.append([who, what, False])
            return
        for batch in reversed(self.batches):
            if batch[0] == who and not batch[2]:
                batch[2] = True
                return

    def standing(self):
        return {
            path: action for _, some, undone in self.batches if not undone for path, action in some
        }


@given(STEPS)
@settings(max_examples=40)
def test_what_stands_is_what_a_simple_model_says(tmp_path_factory, steps):
    file = tmp_path_factory.mktemp("law") / "review.sqlite"
    model, incremental, seen = Model(), Standing(), {}
    with opened(file) as journal:
        for number, (who, what, twice) in enumerate(steps):
            before = dict(seen)
            model.do(who, what)
            for _ in range(1 + twice):
                if what == "undo":
                    journal.undo(f"key-{number}", who)
                else:
                    journal.append(f"key-{number}", who, [decision(*pair) for pair in what])
            last = incremental.last
            incremental.add(journal.since(last))
            seen = {path: entry.action for path, entry in incremental.all().items()}
            assert seen == model.standing() == standing(journal)
            touched = incremental.touched_since(last)
            assert {p for p in "abcd" if before.get(p) != seen.get(p)} <= set(touched)
    with opened(file) as journal:
        assert standing(journal) == model.standing()


def test_several_connections_and_threads_write_at_once(file):
    """Each sees what the others wrote; no number is given twice."""
    journals = [opened(file) for _ in range(3)]

    def write(who, journal):
        for number in range(15):
            journal.append(f"{who}-{number}", f"person {who}", [decision(f"{who}/{number}")] * 2)

    threads = [
        threading.Thread(target=write, args=(who, journals[who % 3])) for who in range(6)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [journal.since(0) for journal in journals]
    assert entries[0] == entries[1] == entries[2]
    assert [e.number for e in entries[0]] == list(range(1, 181))
    assert len({(e.batch, e.path) for e in entries[0]}) == 90
    for journal in journals:
        journal.close()


def test_several_processes_make_the_same_new_file_at_once(file):
    code = (
        "import sys; from pathlib import Path; from tellapart.review.journal import Journal\n"
        "from tellapart.review.decisions import Decision\n"
        "journal = Journal(Path(sys.argv[1]), root='photos', classes=('cat', 'dog'))\n"
        "journal.append('key-' + sys.argv[2], 'ann', [Decision('a', '', 'keep')])"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, file, str(n)]) for n in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    with opened(file) as journal:
        assert len(journal.since(0)) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"root": "elsewhere"}, "photos, not .*elsewhere"),
        ({"classes": ("cat", "dog", "emu")}, "about other classes"),
    ],
)
def test_a_journal_of_other_data_is_refused_and_stays(file, options, words):
    opened(file).close()
    before = file.read_bytes()
    with pytest.raises(DatasetError, match=words) as refused:
        opened(file, **options)
    assert "--journal FILE" in str(refused.value)
    assert file.read_bytes() == before


def test_an_unknown_format_is_refused(file):
    opened(file).close()
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(DatasetError, match="format 7; this version of tellapart reads format 1"):
        opened(file)


def test_a_database_of_another_program_is_left_as_it_is(tmp_path):
    file = tmp_path / "other.sqlite"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE mine (a)")
    database.close()
    before = file.read_bytes()
    with pytest.raises(DatasetError, match="no journal of tellapart"):
        opened(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["other.sqlite"]


@pytest.mark.parametrize("damage", ["head", "middle", "other"])
def test_a_damaged_file_is_said_and_left_as_it_is(file, damage):
    with opened(file) as journal:
        for number in range(40):
            journal.append(f"batch-{number}", "ann", [decision(f"{number}" * 30)] * 20)
    raw = bytearray(file.read_bytes())
    if damage == "other":
        raw = bytearray(b"name,label\n1.png,cat\n" * 100)
    else:
        start = 0 if damage == "head" else 4096 * 6
        raw[start : start + 4096 * 4] = os.urandom(4096 * 4)
    file.write_bytes(raw)
    with pytest.raises(DatasetError, match=r"is damaged.*--journal FILE"):
        opened(file)
    assert file.read_bytes() == raw


def test_without_a_journal_nothing_is_made_where_none_is_wanted(file):
    with pytest.raises(DatasetError, match="nothing has been decided yet"):
        opened(file, create=False)
    assert not file.parent.exists()


def test_a_killed_beginning_is_no_trouble(file):
    """An empty file is what a kill -9 may leave of a new one."""
    file.parent.mkdir()
    file.write_bytes(b"")
    with opened(file) as journal:
        assert journal.since(0) == []


def test_a_place_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be opened"):
        opened(tmp_path / "file" / "below" / "review.sqlite")
    with pytest.raises(DatasetError, match="cannot be opened"):
        opened(tmp_path)


def test_on_a_full_disk_nothing_is_said_to_be_kept(file):
    with opened(file) as journal:
        journal.append("batch-1", "ann", [decision("a")])
        journal._database.execute("PRAGMA max_page_count = 1")  # as SQLite behaves without space
        with pytest.raises(DatasetError, match=r"cannot be written: .*full"):
            journal.append("batch-2", "ann", [decision("b" * 1000)] * 200)
        assert [e.path for e in journal.since(0)] == ["a"]
        journal._database.execute("PRAGMA max_page_count = 100000")
        assert journal.append("batch-2", "ann", [decision("b")]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_folder_that_cannot_be_written_is_said(file):
    opened(file).close()
    file.chmod(0o400)
    file.parent.chmod(0o500)
    try:
        with pytest.raises(DatasetError, match="cannot be"):
            opened(file).append("batch-1", "ann", [decision("a")])
    finally:
        file.parent.chmod(0o700)


def test_what_is_answered_survives_a_kill(file):
    """The process ends without closing anything, while the log has not been folded in yet."""
    code = (
        "import os, sys; from pathlib import Path; from tellapart.review.journal import Journal\n"
        "from tellapart.review.decisions import Decision\n"
        "journal = Journal(Path(sys.argv[1]), root='photos', classes=('cat', 'dog'))\n"
        "for n in range(20): journal.append(f'key-{n}', 'ann', [Decision(str(n), '', 'keep')])\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, file])
    assert done.returncode == -9
    assert Path(f"{file}-wal").exists()
    with opened(file) as journal:
        assert [e.path for e in journal.since(0)] == [str(n) for n in range(20)]


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_journal_that_was_taken_away_is_said(file, what):
    """SQLite itself would go on writing to where nobody can find it again."""
    with opened(file) as journal:
        journal.append("batch-1", "ann", [decision("a")])
        file.rename(file.with_name("away.sqlite"))
        if what == "replaced":
            file.write_bytes(b"")
        with pytest.raises(DatasetError, match=r"No such file|another file than"):
            journal.append("batch-2", "ann", [decision("b")])
