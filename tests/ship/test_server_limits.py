"""Slow senders, floods, hanging models, askers who go away: each is bounded, and the others are answered."""

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from made_export import made_export
from serving import Client, Slow, answered_by, connected, form, head, heard, picture, until

from tellapart.ship.server.admission import Admission, Overloaded, Place, TooMuch
from tellapart.ship.server.limits import Limits
from tellapart.ship.server.log import MOST_LINES, Log
from tellapart.ship.server.server import ModelServer

LIMITS = Limits(
    most_bytes=1 << 20, deadline=1.5, body_seconds=0.6, header_seconds=0.5, most_connections=20
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("limited") / "colours.onnx")


@pytest.fixture
def server(model):
    log = io.StringIO()
    with ModelServer(model, limits=LIMITS, workers=2, log=log) as started:
        started.heard = log
        yield started
    assert started.service.busy == 0
    assert (started.service.admission.pictures, started.service.admission.bytes) == (0, 0)


@pytest.fixture
def client(server):
    opened = Client(server, keep=True)
    yield opened
    opened.close()


def free(server):
    """Wait until no request is in progress."""
    until(lambda: server.service.busy == 0)


def test_a_body_that_drips_is_cut_off(server, client):
    with connected(server) as sock:
        start = time.monotonic()
        sock.sendall(head(server, 1000))
        ended = threading.Event()

        def drip():
            while not ended.wait(0.05):
                try:
                    sock.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        answer = heard(sock)
        ended.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.6 s" in answer
    assert time.monotonic() - start >= LIMITS.body_seconds
    assert client.predict(picture()).status == 200


@pytest.mark.parametrize(
    "begun", [b"", b"POST /v1/predict HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "]
)
def test_a_head_that_does_not_come_is_cut_off(server, begun):
    with connected(server) as sock:
        sock.sendall(begun)
        answer = heard(sock)
    assert answer.startswith(b"HTTP/1.1 408 ") == bool(begun)
    until(lambda: not server._server.server_state.connections)


def test_a_connection_that_is_idle_after_an_answer_is_closed(server):
    with connected(server) as sock:
        sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        assert heard(sock).startswith(b"HTTP/1.1 200 ")  # and then the end


def test_the_rest_of_a_refused_body_is_not_waited_for_long(server):
    with connected(server) as sock:
        sock.sendall(head(server, 900_000, "Content-Encoding: gzip"))
        for _ in range(200):
            try:
                sock.sendall(b"x")
            except OSError:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("it still takes bytes of what it has refused")


def test_too_many_idle_connections_make_room_for_who_asks(server, client):
    opened = [connected(server) for _ in range(20)]
    until(lambda: len(server._server.server_state.connections) == 20)
    opened[5].sendall(b"GET /healthz HTTP/1.1\r\nHost")  # a head that is not whole is idle too
    assert client.ask("/healthz").status == 200
    assert heard(opened[0]) in (b"", b"(reset)")
    assert len(server._server.server_state.connections) <= 20
    for sock in opened:
        sock.close()
    until(lambda: len(server._server.server_state.connections) == 1)


def test_too_many_busy_connections_are_refused_and_the_others_answered(model):
    content = picture()
    with ModelServer(model, limits=Limits(most_connections=5), workers=1) as server:
        opened = [connected(server) for _ in range(5)]
        for sock in opened:
            sock.sendall(head(server, len(content), "Connection: close") + content[:100])
        until(lambda: server.service.busy == 5)
        with connected(server) as sock:
            answer = heard(sock)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        for sock in opened:
            sock.sendall(content[100:])
            assert heard(sock).startswith(b"HTTP/1.1 200 ")
            sock.close()


def test_a_flood_is_shed_at_once_and_what_is_let_in_is_answered_in_time(server):
    """Two workers and 0.03 s a picture are 66 a second: there is room for all 18; and then for two."""
    content, seconds = picture(), []

    def ask(number):
        client = Client(server)
        start = time.monotonic()
        try:
            answer = client.predict(content)
        except ConnectionResetError:  # refused as one connection too many, before its body was read
            return 503
        finally:
            client.close()
            seconds.append(
                (answer.status if "answer" in locals() else 503, time.monotonic() - start)
            )
        if answer.status == 503:
            assert 1 <= int(answer.headers["Retry-After"]) <= 2
            assert "Ask again in" in answer.error
        return answer.status

    with answered_by(server, Slow(0.03)) as slow, ThreadPoolExecutor(18) as pool:
        statuses = list(pool.map(ask, range(18)))
        assert statuses == [200] * 18
        server.service.admission.seconds = (
            1.0  # from here on it takes them to be slower: room for two
        )
        statuses = list(pool.map(ask, range(18)))
    assert set(statuses) == {200, 503}
    assert 2 <= statuses.count(200) <= 10
    assert len(slow.names) == 18 + statuses.count(200)
    assert max(taken for status, taken in seconds if status == 200) < LIMITS.deadline + 1
    free(server)


def test_the_bytes_of_all_bodies_are_bounded(server):
    held = threading.Event()
    parts = [picture() + bytes(900_000)]
    kind, body = form(*parts)
    with answered_by(server, Slow(until=held), 0.01), ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(Client(server).predict, body, kind) for _ in range(8)]
        until(lambda: sum(one.done() for one in asked) >= 4)
        assert server.service.admission.bytes <= LIMITS.most_held
        held.set()
        statuses = sorted(one.result().status for one in asked)
    assert set(statuses) == {200, 503}
    assert 2 <= statuses.count(200) <= 4  # what others had sent of theirs took room for a while
    free(server)


def test_what_could_never_be_answered_in_time_is_not_told_to_come_again(client):
    with answered_by(client.server, Slow(0.0), 0.5):
        answer = client.predict_form(*[picture()] * 5)
        assert answer.status == 413
        assert "at most 4 at a time" in answer.error
        assert client.predict_form(*[picture()] * 4).status == 200
    with answered_by(client.server, Slow(0.0), 60.0):  # slower than the deadline: one is tried
        assert client.predict(picture()).status == 200


def test_the_deadline_is_kept_when_the_model_hangs(client, server):
    held = threading.Event()
    with answered_by(server, Slow(until=held), 0.001):
        start = time.monotonic()
        answer = client.predict(picture())
        taken = time.monotonic() - start
        held.set()
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert LIMITS.deadline - 0.2 <= taken < LIMITS.deadline + 5
    assert client.figure("tellapart_late_total") == 1
    assert client.predict(picture()).status == 200


def test_who_goes_away_frees_the_place_and_nothing_more_is_computed(server, client):
    held = threading.Event()
    kind, body = form(*[(f"{i}.jpg", picture()) for i in range(10)])
    with answered_by(server, Slow(until=held), 0.001) as slow:
        with connected(server) as sock:
            text = head(server, len(body)).replace(b"image/jpeg", kind.encode())
            sock.sendall(text + body)
            until(lambda: len(slow.names) == 2)
            assert server.service.admission.pictures == 10
        until(lambda: server.service.admission.pictures == 0)
        held.set()
        until(lambda: len(server.service.workers) == 0)
        assert client.predict(picture()).status == 200
        assert len(slow.names) == 2 + 1
    until(lambda: '"status": 499' in server.heard.getvalue())


def test_a_fault_is_500_and_the_log_says_where_but_not_what(server, client):
    with answered_by(server, Slow(fault=ValueError("private content")), 0.001):
        answer = client.predict_form(picture(), picture())
        assert answer.status == 500
        assert "log" in answer.error
    assert client.predict(picture()).status == 200
    until(lambda: '"fault"' in server.heard.getvalue())
    fault = next(
        line for line in map(json.loads, server.heard.getvalue().splitlines())
        if line["event"] == "fault"
    )  # fmt: skip
    assert fault["type"] == "ValueError"
    assert any("serving.py" in place for place in fault["where"])
    assert "private" not in server.heard.getvalue()


def test_pictures_of_one_request_are_shared_by_the_workers(client):
    with answered_by(client.server, Slow(0.2), 0.01):
        start = time.monotonic()
        assert client.predict_form(*[picture()] * 6).status == 200
        assert time.monotonic() - start < 6 * 0.2


def test_a_log_that_nobody_reads_stops_nothing():
    stuck = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text):
            assert stuck.wait(30)
            return super().write(text)

    stream = Stuck()
    log = Log(stream)
    log.write("info", "first")
    time.sleep(0.3)  # it is being written
    for i in range(MOST_LINES + 500):
        log.write("info", "more", number=i)
    stuck.set()
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 1 + MOST_LINES + 1
    assert lines[-1] == {"level": "warning", "event": "lines_dropped", "lines": 500}


def test_a_log_whose_reader_has_gone_stops_nothing():
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    log.write("info", "more")
    log.close()


def test_admission_counts_pictures_bytes_and_lateness(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limits = Limits(deadline=4.3, most_bytes=100, most_waiting=50)
    admission = Admission(limits, workers=2, seconds=0.5)  # room for 3.01 s × 2 / 0.5 = 12
    with Place(admission) as first, Place(admission) as second:
        first.take(pictures=8, size=100)
        assert admission.wait == 2
        second.take(pictures=4)
        with pytest.raises(Overloaded) as refused:
            second.take(pictures=1)
        assert refused.value.retry_after == 3
        with pytest.raises(TooMuch) as never:
            second.take(pictures=9)
        assert never.value.fits == 12
        second.take(size=300)
        with pytest.raises(Overloaded):
            first.take(size=1)
    assert (admission.pictures, admission.bytes) == (0, 0)
    with Place(admission) as place:
        place.take(pictures=4)
        now += 0.8  # no tick: the loop is late by 0.7 s, which counts four times
        with pytest.raises(Overloaded):
            place.take(pictures=1)
        admission.tick()
        now += 0.1
        assert admission.lag == pytest.approx(0.7)
        for _ in range(70):
            admission.tick()
            now += 0.1
        place.take(pictures=7)
    for _ in range(500):
        admission.learn(0.1)
    assert admission.seconds == pytest.approx(0.1)
    admission.check(50, 0)
    with pytest.raises(TooMuch):
        admission.check(51, 0)
