"""The test server keeps its word, for good and bad answers alike, and leaves nothing behind."""

import gzip
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from web.behaviours import (
    bad_headers,
    bomb,
    by_query,
    chunked,
    cut,
    drip,
    endless,
    first,
    garbage,
    gzip_bomb,
    hang_up,
    html,
    http_1_0,
    many,
    never,
    oversized_header,
    picture,
    redirect,
    reset,
    reset_midway,
    robots,
    slow,
    stall,
    status,
    wrong_length,
)
from web.pictures import gzip_of_zeros, jpeg_head, png_bomb, sample
from web.server import Server

ROOT = Path(__file__).resolve().parents[2]


def ask(server, target="/", method="GET", **headers):
    """One request on a connection of its own; the answer, read to its end, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def read_all(server, target="/") -> bytes:
    """The bytes of an answer as they come, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        with client.makefile("rb") as file:
            return file.read()


def test_it_counts_what_it_is_asked():
    with Server(
        {
            "/a.jpg": picture(),
            "/*": status(410),
            "/s/*": status(403),
        }
    ) as server:
        answer, body = ask(server, "/a.jpg?x=1", **{"User-Agent": "tests"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert body == sample()
        assert ask(server, "/a.jpg", method="HEAD")[1] == b""
        assert [ask(server, path)[0].status for path in ("/b", "/s/c", "/s/c")] == [410, 403, 403]
    assert server.hits == {"/a.jpg?x=1": 1, "/a.jpg": 1, "/b": 1, "/s/c": 2} == server.finished
    assert server.headers["/a.jpg?x=1"]["user-agent"] == "tests"
    assert server.sent["/a.jpg?x=1"] > len(sample())
    assert (server.opened, server.most_at_once, len(server.times["/s/c"])) == (5, 1, 2)


def test_a_connection_is_kept_alive_and_requests_may_be_pipelined():
    with Server({"/*": slow(0.01, status(404))}) as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with client, client.makefile("rb") as file:
            client.sendall(
                b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close"
            )
            time.sleep(0.02)
            client.sendall(b"\r\n\r\n")
            assert file.read().count(b"404 Not Found") == 2
    assert (server.opened, server.most_at_once) == (1, 1)
    assert list(server.hits) == ["/1", "/2"]


def test_it_tells_how_many_were_at_work_at_once():
    with Server({"/*": slow(0.3)}) as server, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: ask(server, f"/{i}", Host=f"host{i // 3}"), range(4)))
    assert server.most_at_once == 4
    assert server.most_at_once_of == {"host0": 3, "host1": 1}


def test_many_pictures_are_valid_and_all_differ():
    pixels = set()
    with Server({"/many/*": many(30)}) as server:
        for number in range(30):
            body = ask(server, f"/many/{number}.jpg")[1]
            assert 10_000 < len(body) < 25_000
            with Image.open(io.BytesIO(body)) as picture:
                assert (picture.format, picture.size) == ("JPEG", (320, 240))
                pixels.add(picture.tobytes())
        assert len(pixels) == 30
        assert ask(server, "/many/30.jpg")[0].status == ask(server, "/many/x")[0].status == 404


def test_behaviours_made_of_others():
    twice = first(2, status(429, headers={"Retry-After": "1"}), picture())
    routes = {
        "/first": twice,
        "/query": by_query(lambda query: status(int(query or 404))),
        "/loop": redirect("/loop", 301),
        "/slow": slow(0.2),
    }
    with Server(routes) as server:
        answers = [ask(server, "/first")[0] for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 429, 200]
        assert answers[0].headers["Retry-After"] == "1"
        assert ask(server, "/query?503")[0].status == 503
        answer = ask(server, "/loop")[0]
        assert (answer.status, answer.headers["Location"]) == (301, "/loop")
        start = time.monotonic()
        assert ask(server, "/slow")[0].status == 200
        assert time.monotonic() - start >= 0.2


def test_whole_answers_of_other_kinds():
    routes = {
        "/chunked": chunked(),
        "/old": http_1_0(),
        "/drip": drip(b"abc", 0.01),
        "/robots": robots("noai"),
        "/headers": bad_headers(),
        "/large": picture(sample() * 100),
        "/html": html(),
    }
    with Server(routes) as server:
        assert ask(server, "/chunked")[1] == ask(server, "/robots")[1] == sample()
        assert ask(server, "/robots")[0].headers["X-Robots-Tag"] == "noai"
        old = read_all(server, "/old")
        assert old.startswith(b"HTTP/1.0 200 OK\r\n")
        assert old.endswith(sample())
        assert ask(server, "/drip")[1] == b"abc"
        assert read_all(server, "/headers").endswith(sample())
        assert ask(server, "/large")[1] == sample() * 100
        assert b"<html>" in ask(server, "/html")[1]
    assert set(server.finished) == set(routes)


def test_pictures_that_are_not_what_they_seem():
    with Server({"/cut": cut(), "/bomb": bomb(), "/gzip": gzip_bomb(2)}) as server:
        half = io.BytesIO(ask(server, "/cut")[1])
        with Image.open(half) as picture, pytest.raises(OSError, match="truncated"):
            picture.load()
        assert ask(server, "/bomb")[1] == png_bomb()
        assert len(png_bomb()) < 10_000
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(png_bomb()))
        answer, body = ask(server, "/gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert body == gzip_of_zeros(2)
        assert gzip.decompress(body) == jpeg_head() + bytes(2 << 20)


def test_broken_answers():
    routes = {
        "/reset": reset(),
        "/midway": reset_midway(),
        "/hang": hang_up(),
        "/short": wrong_length(more=100),
        "/long": wrong_length(more=-100),
        "/garbage": garbage(),
        "/header": oversized_header(),
    }
    with Server(routes) as server:
        for path, error in (
            ("/reset", ConnectionResetError),
            ("/midway", ConnectionResetError),
            ("/hang", http.client.RemoteDisconnected),
            ("/short", http.client.IncompleteRead),
            ("/garbage", http.client.BadStatusLine),
            ("/header", http.client.LineTooLong),
        ):
            with pytest.raises(error) as raised:
                ask(server, path)
            assert raised.type is error, path
        assert ask(server, "/long")[1] == sample()[:-100]
        assert read_all(server, "/long").endswith(sample())
    assert not set(server.finished) - {"/header"}


@pytest.mark.parametrize("in_chunks", [True, False])
def test_an_endless_answer_waits_for_the_client_and_ends_with_it(in_chunks):
    with Server({"/": endless(in_chunks=in_chunks)}) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.read(len(jpeg_head()) + 3) == jpeg_head() + bytes(3)
        wait_for_rest(server)
        assert server.sent["/"] < 20_000_000  # what the system holds
        assert answer.read(5_000_000) == bytes(5_000_000)
        answer.close()
        connection.close()
        wait_until(lambda: not server.connections)
    assert not server.finished


def test_it_ends_soon_with_connections_open():
    routes = {
        "/never": never(),
        "/stall": stall(),
        "/endless": endless(),
    }
    with Server({**routes, "/slow": slow(60), "/*": status(404)}) as server:
        clients = []
        for path in ("never", "stall", "endless", "slow", "idle"):
            clients.append(socket.create_connection(("127.0.0.1", server.port)))
            clients[-1].sendall(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        wait_until(lambda: sum(server.hits.values()) == 5)
        start = time.monotonic()
    assert time.monotonic() - start < 1
    assert not [t for t in threading.enumerate() if t.name == "tests.web.server"]
    for client in clients:
        client.close()


def test_an_error_in_a_behaviour_is_heard():
    def wrong(exchange):
        raise KeyError("a mistake of the test")

    server = Server({"/": wrong})
    with pytest.raises(KeyError, match="mistake"), server:
        assert read_all(server) == b""


def test_as_a_process(tmp_path):
    port, log = tmp_path / "port", tmp_path / "log"
    command = [sys.executable, "-m", "tests.web.server", "--port-file", port, "--log", log]
    with subprocess.Popen([*command, "--pictures", "3"], cwd=ROOT) as process:
        try:
            wait_until(port.exists, seconds=20)
            server = type("Address", (), {"port": int(port.read_text())})
            assert ask(server, "/many/2.jpg?x=1")[1] == sample(2)
            assert log.read_text() == "/many/2.jpg?x=1\n"
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=5) == 0
        finally:
            process.kill()


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.005)


def wait_for_rest(server):
    """Until the server has sent nothing for a while."""
    before = -1
    while before != (before := sum(server.sent.values())):
        time.sleep(0.1)
