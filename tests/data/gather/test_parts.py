"""The parts of gathering that can be tried without a network: addresses, robots' words, the schedule,
and the judgement on the same content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.data.gather.addresses import refusal
from tellapart.data.gather.robots import refused_by_robots
from tellapart.data.gather.schedule import Ask, Schedule
from tellapart.data.gather.settle import judge
from tellapart.data.receipt import ReceiptRow


@pytest.mark.parametrize(
    "address",
    "0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.9.9 "
    "192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 "
    "255.255.255.255 :: ::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe "
    "64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: fc00::1 fd12::1 fe80::1 fe80::1%eth0 "
    "fec0::1 ff02::1 ff0e::1 3fff::1 5f00::1 192.88.99.1 nonsense".split(),
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert refusal(address)


@pytest.mark.parametrize(
    "address",
    "1.1.1.1 8.8.8.8 93.184.215.14 172.15.0.1 172.32.0.1 192.169.0.1 2606:4700:4700::1111 2a00:1450::1 "
    "::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::".split(),
)  # fmt: skip
def test_addresses_that_are_public(address):
    assert refusal(address) == ""


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ([], ""),
        (["all"], ""),
        (["nofollow, noarchive"], ""),
        (["noai"], "noai"),
        (["NoImageAI"], "noimageai"),
        (["nofollow, noindex"], "noindex"),
        (["none"], "none"),
        (["nofollow", "noimageindex"], "noimageindex"),
        (["googlebot: noindex"], ""),
        (["googlebot: noindex", "noai"], "noai"),
        (["tellapart: noai"], "noai"),
        (["*: noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "noai"),
        (["unavailable_after: Fri, 25 Jun 2030 15:00:00 GMT, noai"], "noai"),
        (["googlebot: nofollow, tellapart: noai"], "noai"),
        (["noaix, anoai"], ""),
    ],
)
def test_what_robots_tags_refuse(headers, word):
    assert refused_by_robots(headers) == word


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_hosts_take_turns_and_each_has_few_out():
    schedule = Schedule(per_host=2)
    for host in "aaaabbc":
        schedule.put(Ask("", host=host))
    taken = [ask.host for ask in iter(schedule.take, None)]
    assert taken == ["a", "b", "c", "a", "b"]
    schedule.give_back("a")
    assert schedule.take().host == "a"
    assert schedule.take() is None
    assert schedule


def test_delays_and_rests():
    clock = Clock()
    schedule = Schedule(1, clock)
    schedule.put(Ask("later", host="a"), delay=5)
    schedule.put(Ask("now", host="b"))
    schedule.rest("b", 3)
    assert schedule.take() is None
    assert schedule.next_at() == 103
    clock.now = 103
    assert schedule.take().request == "now"
    clock.now = 105
    assert schedule.take().request == "later"
    assert not schedule


def test_a_longer_rest_wins():
    clock = Clock()
    schedule = Schedule(1, clock)
    schedule.put(Ask("", host="a"))
    schedule.rest("a", 9)
    schedule.rest("a", 2)
    clock.now = 104
    assert schedule.take() is None
    clock.now = 109
    assert schedule.take() is not None


@given(
    hosts=st.lists(st.sampled_from("abcd"), max_size=30),
    per_host=st.integers(1, 3),
    moves=st.lists(st.integers(0, 2), max_size=80),
)
def test_nothing_is_lost_and_no_host_has_too_many(hosts, per_host, moves):
    clock = Clock()
    schedule = Schedule(per_host, clock)
    asks = [Ask(str(n), host=host) for n, host in enumerate(hosts)]
    for ask in asks:
        schedule.put(ask)
    out, done = [], []
    for move in [*moves, *[0, 1] * 200]:
        clock.now += 1
        if move == 0 and (ask := schedule.take()):
            out.append(ask)
        elif move == 1 and out:
            ask = out.pop(0)
            done.append(ask)
            schedule.give_back(ask.host)
        elif move == 2 and out:
            ask = out.pop(0)
            schedule.rest(ask.host, 2)
            schedule.put(ask, delay=3)
            schedule.give_back(ask.host)
        assert all([a.host for a in out].count(host) <= per_host for host in "abcd")
    assert sorted(done, key=id) == sorted(asks, key=id)


ROWS = st.lists(
    st.builds(
        lambda url, label, content: ReceiptRow(
            f"http://x/{url}", label, "ok", sha256=str(content), path=f"{label}/{content}.jpg"
        ),
        st.integers(0, 30), st.sampled_from(["cat", "dog", "owl"]), st.integers(0, 5),
    ),
    max_size=12,
    unique_by=lambda row: row.key,
)  # fmt: skip


@given(rows=ROWS, decision=st.sampled_from([None, "keep", "drop", "first"]))
def test_laws_of_the_judgement(rows, decision):
    judged = judge(rows, decision)
    assert [row.key for row in judged] == [row.key for row in rows]
    kept = [(row.label, row.sha256) for row in judged if row.status == "ok"]
    assert len(set(kept)) == len(kept)  # one of each content in a class
    classes = {}
    for row in rows:
        classes.setdefault(row.sha256, []).append(row.label)
    for content, labels in classes.items():
        wanted = set(labels)
        if len(wanted) > 1:
            wanted = {None: set(), "drop": set(), "first": {labels[0]}, "keep": wanted}[decision]
        assert {label for label, found in kept if found == content} == wanted
    assert judge(judged, decision) == judged
    assert [row.status for row in judge(judged, None)] == [row.status for row in judged]
