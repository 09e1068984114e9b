"""Killed with -9 at random moments while two people decide: what was answered is there, and once."""

import contextlib
import random
import threading
import time

import httpx
from clean_process import started

from tellapart.review.decisions import ACTIONS
from tellapart.review.journal import Journal

BATCHES = 50  # of two decisions, by each of two people
KILLS = 4


class Service:
    """A server that is started again whenever it was killed."""

    def __init__(self, *arguments):
        self.arguments, self.change, self.gone = arguments, threading.Lock(), False
        self.start()

    def start(self):
        self.process, answer = started(*self.arguments, "--workers", 1, "--quiet")
        base, token = answer["url"].split("?token=")
        self.place = base, {"Authorization": f"Bearer {token}"}

    def kill(self):
        self.process.kill()
        self.process.communicate()
        self.start()

    def stop(self):
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode


def send(service, content):
    """Until it is answered, with the same key, as the page does; the answer and how often it was sent."""
    tries = 0
    while True:
        tries += 1
        base, headers = service.place
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(f"{base}api/decisions", json=content, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
            return answer.json()["last"], tries
        time.sleep(0.02)


def decide(service, who, answers):
    chance = random.Random(who)
    for number in range(BATCHES):
        decisions = [
            {"id": chance.randrange(41), "action": (a := chance.choice(ACTIONS))}
            | ({"label": chance.randrange(2)} if a == "relabel" else {})
            for _ in range(2)
        ]
        content = {
            "key": f"{who}-{number:05d}", "who": who, "queue": "random", "decisions": decisions,
        }  # fmt: skip
        answers.append((content, *send(service, content)))


def test_every_answered_decision_is_there_and_none_twice(photos, tmp_path):
    file = tmp_path / "review.sqlite"
    service = Service(photos, "--journal", file)
    answers = {"ann": [], "bob": []}
    people = [
        threading.Thread(target=decide, args=(service, who, some)) for who, some in answers.items()
    ]
    for person in people:
        person.start()
    for kill in range(1, KILLS + 1):
        while sum(map(len, answers.values())) < 2 * BATCHES * kill // (KILLS + 1):
            time.sleep(0.001)
        service.kill()
    for person in people:
        person.join()
    resent = [entry for some in answers.values() for entry in some if entry[2] > 1]
    assert len(resent) >= KILLS  # somebody waited for an answer each time
    for content, last, _ in resent:  # once more, long after
        assert send(service, content)[0] == last
    assert service.stop() == 0

    with Journal(file, root=photos, classes=("blue", "red"), create=False) as journal:
        entries = journal.since(0)
    assert len(entries) == 4 * BATCHES
    assert [entry.number for entry in entries] == list(range(1, 4 * BATCHES + 1))
    kept = {}
    for entry in entries:
        kept.setdefault(entry.batch, []).append(entry)
    for who, some in answers.items():
        assert len(some) == BATCHES
        for content, last, _ in some:
            own = kept[content["key"]]
            assert [entry.action for entry in own] == [d["action"] for d in content["decisions"]]
            assert {entry.who for entry in own} == {who}
            assert own[-1].number == last
