"""The review without its page: what is shown, what decisions do, and what happens when something fails."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
from few_photos import WRONG, draw_photos

import tellapart
from tellapart.errors import DatasetError, UsageError
from tellapart.review.decisions import Decision
from tellapart.review.journal import Journal
from tellapart.review.ranking import QUEUES
from tellapart.review.retrainer import Retrainer
from tellapart.review.review import Review


def ids(review, *paths):
    return [review.subject.paths.index(path) for path in paths]


def keys():
    number = 0
    while True:
        number += 1
        yield f"batch-{number:04d}"


@pytest.fixture
def key():
    some = keys()
    return lambda: next(some)


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_planted_wrong_labels_come_first_and_mending_them_lowers_the_error(review, key):
    state = review.state()
    assert state["classes"] == ["blue", "red"]
    assert [queue["name"] for queue in state["queues"]] == list(QUEUES)
    first = [item[0] for item in review.queue("label_errors")["items"][:4]]
    assert set(ids(review, *WRONG)) <= set(first)
    (shown,) = review.pictures(ids(review, WRONG[0]), "label_errors")
    assert (shown["label"], shown["given"], shown["suggested"]) == (0, 0, 1)
    assert "says 'red'" in shown["why"]
    mended = [
        {"id": row, "action": "relabel", "label": 1 - int(review.subject.targets[row])}
        for row in ids(review, *WRONG, "blue/copy.png")
    ]
    assert review.decide(mended, "ann", key(), "label_errors") == 4
    version = review.rerank()
    state = review.state()
    assert version == state["version"] > 1
    assert state["error"]["before"]["errors"] >= 3 > state["error"]["now"]["errors"]
    assert state["error"]["now"]["n"] == 41
    assert state["decided"] == {"keep": 0, "relabel": 4, "remove": 0, "unsure": 0}
    assert state["class_counts"] == [19, 22]
    assert not set(first[:3]) & {item[0] for item in review.queue("label_errors")["items"]}
    json.dumps(state)


def test_what_was_decided_leaves_every_queue_and_comes_back_when_undone(review, key):
    row = ids(review, "red/3.png")[0]
    review.decide([{"id": row, "action": "keep"}], "ann", key(), "random")
    review.decide([{"id": row, "action": "remove"}], "bob", key(), "top_losses")
    for name in ("random", "top_losses", "least_sure"):
        assert [row] not in review.queue(name)["items"]
    assert review.queue("decided")["items"] == [[row]]
    assert review.pictures([row])[0]["action"] == "remove"
    assert review.state()["class_counts"] == [21, 19]
    last, rows = review.undo("bob", key())
    assert (last, rows) == (3, [row])
    assert review.pictures([row])[0]["action"] == "keep"
    assert review.state()["class_counts"] == [21, 20]
    assert review.undo("bob", key())[1] == []
    review.undo("ann", key())
    assert [row] in review.queue("random")["items"]
    history = review.details(row)["history"]
    assert [(past["who"], past["action"], past["undone"]) for past in history] == [
        ("ann", "keep", True), ("bob", "remove", True),
    ]  # fmt: skip


def test_what_changed_since_an_entry_is_told(review, key):
    a, b = ids(review, "red/3.png", "blue/4.png")
    assert review.state()["decisions"] == []
    first = review.decide([{"id": a, "action": "relabel", "label": 0}], "ann", key())
    second = review.decide([{"id": b, "action": "unsure"}], "bob", key())
    told = [
        {"id": b, "action": "unsure", "who": "bob"},
        {"id": a, "action": "relabel", "who": "ann", "label": 0},
    ]
    assert review.state(0)["decisions"] == told
    assert review.state(first)["decisions"] == told[:1]
    assert review.state(second)["decisions"] == []
    review.undo("ann", key())
    assert review.state(second)["decisions"] == [{"id": a, "action": None}]
    assert review.state(0)["decisions"] == told[:1]


def test_what_another_process_decides_is_seen(review, photos, key):
    row = ids(review, "red/3.png")[0]
    sha256 = review.subject.dataset.table["sha256"][row]
    with Journal(review.journal.file, root=photos, classes=("blue", "red")) as other:
        other.append("other-0001", "bob", [Decision("red/3.png", sha256, "remove")])
    assert review.state()["decisions"] == [{"id": row, "action": "remove", "who": "bob"}]
    assert review.state()["pending"] == 1


def test_copies_stand_side_by_side_until_one_is_left(review, key):
    pair = sorted(ids(review, "red/0.png", "blue/copy.png"))
    assert review.queue("copies")["items"][0] == pair
    assert review.details(pair[0])["copies"] == [pair[1]]
    left = {queue["name"]: queue["left"] for queue in review.state()["queues"]}
    review.decide([{"id": pair[1], "action": "remove"}], "ann", key(), "copies")
    assert pair not in review.queue("copies")["items"]
    review.undo("ann", key())
    review.decide([{"id": pair[0], "action": "keep"}], "ann", key(), "copies")
    assert review.queue("copies")["items"][0] == pair
    review.decide([{"id": pair[1], "action": "keep"}], "ann", key(), "copies")
    assert pair not in review.queue("copies")["items"]
    after = {queue["name"]: queue["left"] for queue in review.state()["queues"]}
    assert after["copies"] == left["copies"] - 1
    assert after["random"] == left["random"] - 2


def test_one_class_alone_can_be_asked_for(review, key):
    red = review.queue("random", 1)["items"]
    assert len(red) == 20
    review.decide([{"id": red[0][0], "action": "relabel", "label": 0}], "ann", key())
    assert len(review.queue("random", 1)["items"]) == 19
    assert len(review.queue("decided", 0)["items"]) == 1
    assert review.queue("decided", 1)["items"] == []


def test_details_name_neighbours_and_what_was_found(review):
    details = review.details(ids(review, "red/0.png")[0], "copies")
    assert any("the same bytes as blue/copy.png" in text for text in details["findings"])
    assert sum(details["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert 1 <= len(details["neighbours"]) <= 10
    assert (details["width"], details["height"]) == (96, 80)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ({"id": 41, "action": "keep"}, "no picture 41; expected 0 to 40"),
        ({"id": -1, "action": "keep"}, "no picture -1"),
        ({"id": True, "action": "keep"}, "no picture True"),
        ({"id": "../1", "action": "keep"}, "no picture '../1'"),
        ({"id": 0, "action": "burn"}, "'burn' is no decision"),
        ({"id": 0, "action": "relabel"}, "no class None"),
        ({"id": 0, "action": "relabel", "label": 2}, "no class 2; expected 0 to 1"),
        ({"id": 0, "action": "keep", "label": 1}, "goes with relabel alone"),
    ],
)
def test_what_is_asked_wrongly_is_said_and_nothing_is_kept(review, decision, words, key):
    with pytest.raises(UsageError, match=words):
        review.decide([{"id": 1, "action": "keep"}, decision], "ann", key())
    assert review.journal.since(0) == []


def test_names_and_queues_have_bounds(review, key):
    good = [{"id": 0, "action": "keep"}]
    for who in ("", "  ", "x" * 61, "\0" * 20):
        with pytest.raises(UsageError, match="characters; expected 1 to 60"):
            review.decide(good, who, key())
    with pytest.raises(UsageError, match="expected 1 to 500"):
        review.decide([], "ann", key())
    with pytest.raises(UsageError, match="expected 1 to 500"):
        review.decide(good * 501, "ann", key())
    for call in (lambda n: review.queue(n), lambda n: review.decide(good, "ann", key(), n)):
        with pytest.raises(UsageError, match=r"queue '\.\./x' is unknown"):
            call("../x")
    review.decide(good, " <b>ann\n ", key())
    assert review.state()["decisions"][0]["who"] == "<b>ann"


def test_where_removals_leave_one_class_the_last_ranking_stands(review, key):
    everything = [
        {"id": row, "action": "remove"}
        for row in np.flatnonzero(review.subject.targets == 0).tolist()
    ]
    review.decide(everything, "ann", key())
    with pytest.raises(DatasetError, match="fewer than two classes"):
        review.rerank()
    review.ask()
    until(lambda: review.state()["note"] and not review.state()["training"])
    state = review.state()
    assert "fewer than two classes are left" in state["note"]
    assert state["version"] == 1
    assert state["pending"] == 21
    assert state["class_counts"] == [0, 20]
    assert review.queue("top_losses")["items"]
    review.undo("ann", key())
    review.ask()
    until(lambda: not review.state()["note"] and not review.state()["training"])


@pytest.mark.parametrize("left", [1, 2])
def test_a_class_of_one_or_two_pictures_is_ranked(review, key, left):
    some = np.flatnonzero(review.subject.targets == 0).tolist()[left:]
    review.decide([{"id": row, "action": "remove"} for row in some], "ann", key())
    assert review.rerank() == 2
    assert review.state()["error"]["now"]["n"] == 20 + left


def test_a_review_goes_on_where_it_was_left(subject, photos, tmp_path, key):
    def journal():
        return Journal(tmp_path / "again.sqlite", root=photos, classes=("blue", "red"))

    with Review(subject, journal(), "photos") as review:
        rows = ids(review, *WRONG)
        review.decide([{"id": row, "action": "remove"} for row in rows], "ann", key())
    with Review(subject, journal(), "photos") as review:
        state = review.state()
        assert state["decided"]["remove"] == 3
        assert state["pending"] == 0
        assert state["error"]["before"]["n"] == 41
        assert state["error"]["now"]["n"] == 38
        assert review.pictures(rows)[0]["action"] == "remove"


def test_decisions_about_other_contents_or_lost_files_are_not_applied(subject, journal):
    journal.append(
        "batch-0001", "ann",
        [Decision("red/1.png", "0" * 64, "remove"), Decision("red/lost.png", "0" * 64, "keep")],
    )  # fmt: skip
    with Review(subject, journal, "photos") as review:
        state = review.state()
        assert (state["changed"], state["gone"]) == (1, 1)
        assert state["class_counts"] == [21, 20]
        assert "1 files that have changed since are not applied" in state["note"]
        assert state["decisions"] == []
        assert ids(review, "red/1.png") in review.queue("random")["items"]


def test_hostile_names_are_shown_as_plain_text(tmp_path):
    root = draw_photos(tmp_path / "photos\udcff")
    hostile = "red/<img src=x onerror=alert(1)>\n\udcff.png"
    shutil.copy(root / "red/1.png", root / hostile)
    with Review.open(root, tmp_path / "review.sqlite", workers=1) as review:
        row = ids(review, hostile)[0]
        everything = [review.state(), review.details(row, "copies"), review.queue("copies")]
        text = json.dumps(everything, ensure_ascii=False)
        text.encode("utf-8")
        assert r"onerror=alert(1)>\\n\\udcff.png" in text
        assert review.state()["data"] == r"photos\udcff"
        review.decide([{"id": row, "action": "keep"}], "ann", "batch-0001", "copies")
        assert review.journal.since(0)[0].path == hostile


def test_in_the_background_it_is_ranked_when_enough_is_decided(review, key):
    rows = ids(review, *[f"red/{n}.png" for n in range(5)])
    for row in rows:
        review.decide([{"id": row, "action": "remove"}], "ann", key())
    assert review.state()["version"] == 1
    more = ids(review, *[f"blue/{n}.png" for n in range(5)])
    review.decide([{"id": row, "action": "remove"} for row in more], "ann", key())
    until(lambda: review.state()["version"] == 2)
    until(lambda: not review.state()["training"])
    assert review.state()["pending"] == 0
    assert review.state()["error"]["now"]["n"] == 31


def test_where_no_label_has_changed_nothing_is_fitted(review, key, monkeypatch):
    monkeypatch.setattr(review._ranker, "rank", lambda *a: pytest.fail("fitted again"))
    review.decide([{"id": row, "action": "keep"} for row in range(12)], "ann", key())
    until(lambda: review.state()["pending"] == 0)
    assert review.state()["version"] == 1


def test_a_failing_ranking_is_said_and_the_next_one_works(review, key, monkeypatch):
    rank = review._ranker.rank

    def fail(*arguments):
        raise RuntimeError("the moon\n is full")

    monkeypatch.setattr(review._ranker, "rank", fail)
    review.ask()
    until(lambda: review.state()["note"])
    assert r"the moon\n is full" in review.state()["note"]
    monkeypatch.setattr(review._ranker, "rank", rank)
    review.ask()
    until(lambda: review.state()["version"] == 2)
    assert review.state()["note"] == ""


def test_a_run_is_reviewed_with_its_pictures_and_its_journal(photos, tmp_path):
    run = tellapart.train(photos, tmp_path / "run", workers=1)
    with Review.open(run.folder, workers=1) as review:
        assert review.journal.file == tmp_path / "run" / "review.sqlite"
        assert review.state()["data"] == "photos"
        assert {review.pictures([row])[0]["split"] for row in range(41)} == {"train", "valid"}
    run = tellapart.Run.load(run.folder)  # the journal beside it does no harm
    with pytest.raises(DatasetError, match="about the pictures in"):
        Journal(run.folder / "review.sqlite", root=tmp_path, classes=("blue", "red"))


def test_the_journal_of_data_lies_below_the_working_directory(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Review.open(photos, workers=1):
        pass
    assert (tmp_path / "reviews" / "photos" / "review.sqlite").exists()


def test_what_cannot_be_read_is_said_and_a_foreign_config_is_no_run(tmp_path):
    root = draw_photos(tmp_path / "photos")
    (root / "red" / "broken.png").write_bytes(b"<html>")
    (root / "config.json").write_text('{"builder": "somebody else"}')
    with Review.open(root, tmp_path / "review.sqlite", workers=1) as review:
        assert review.notes == ("1 pictures cannot be used, and are not shown",)
        assert review.state()["pictures"] == 41


def test_one_class_alone_is_no_review(photos, tmp_path):
    shutil.copytree(photos / "red", tmp_path / "photos" / "red")
    with pytest.raises(DatasetError, match="only the class 'red'"):
        Review.open(tmp_path / "photos", tmp_path / "review.sqlite", workers=1)
    assert not (tmp_path / "review.sqlite").exists()


def test_many_threads_decide_at_once(subject, journal):
    with Review(subject, journal, "photos") as review:

        def decide(who):
            for number in range(10):
                row = (7 * who + number) % 41
                review.decide([{"id": row, "action": "keep"}], f"p{who}", f"key-{who}-{number:04d}")
                review.state(0)

        threads = [threading.Thread(target=decide, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert review.state()["last"] == 40
        assert len(review.state(0)["decisions"]) == len(
            {(7 * w + n) % 41 for w in range(4) for n in range(10)}
        )


def test_the_retrainer_waits_for_quiet_or_enough_and_stops():
    calls = []
    retrainer = Retrainer(lambda asked: calls.append(asked), calls.append, most=3, quiet=0.2)
    retrainer.add(2)
    time.sleep(0.05)
    assert calls == []
    retrainer.add(1)
    until(lambda: calls == [False])
    retrainer.add(1)
    until(lambda: calls == [False, False])
    retrainer.ask()
    until(lambda: calls == [False, False, True])
    retrainer.stop()
    retrainer.ask()
    time.sleep(0.05)
    assert len(calls) == 3
    assert not [t for t in threading.enumerate() if t.name == "tellapart-ranking"]


def test_other_data_does_not_get_the_decisions(photos, tmp_path):
    other = draw_photos(tmp_path / "photos")
    Review.open(photos, tmp_path / "review.sqlite", workers=1).close()
    with pytest.raises(DatasetError, match=r"about the pictures in .*--journal FILE"):
        Review.open(other, tmp_path / "review.sqlite", workers=1)
