"""Spoilt pictures and forms: 4xx or a row with an error, never a fault, a hang or a leak."""

import http.client
import io
import json
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_export import made_export
from mutated import mutated_requests
from serving import Client, picture, until

from tellapart.ship.server.limits import Limits
from tellapart.ship.server.server import ModelServer

LIMITS = Limits(most_pixels=4_000_000, most_files=16, deadline=20)
ALLOWED = {200, 400, 413, 415, 422}


@pytest.fixture
def server(tmp_path):
    model = made_export(tmp_path / "colours.onnx", strange_from=0.9)
    log = io.StringIO()
    with ModelServer(model, limits=LIMITS, workers=2, log=log) as started:
        started.heard = log
        yield started


def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def ask(port, kind, body):
    """Status and body; every request on a connection of its own, as if each came from elsewhere."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Content-Type": kind.encode("latin-1"), "Host": f"127.0.0.1:{port}"}
        connection.request("POST", "/v1/predict", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def look(kind, body, status, content):
    """Every answer has the shape that is promised."""
    found = json.loads(content)
    assert status in ALLOWED, (status, kind, body[:200], content)
    if status != 200:
        assert list(found) == ["error"]
        assert found["error"]
    elif "predictions" in found:
        assert found["predictions"]
        for row in found["predictions"]:
            assert (row["error"] is None) == (row["label"] is not None)
    else:
        assert found["error"] is None


def flood(server, count, seed):
    """Send so many spoilt requests from four askers; the statuses."""
    statuses, lock = Counter(), threading.Lock()

    def one(request):
        status, content = ask(server.port, *request)
        look(*request, status, content)
        with lock:
            statuses[status] += 1

    with ThreadPoolExecutor(4) as pool:
        requests = iter(mutated_requests(count, seed))
        while batch := [request for _, request in zip(range(200), requests, strict=False)]:
            list(pool.map(one, batch))
    return statuses


def settled(server):
    """Nothing of what was asked is held any more: (threads, open files)."""
    service = server.service
    until(lambda: service.busy == 0 and not server._server.server_state.connections)
    assert (service.admission.pictures, service.admission.bytes, len(service.workers)) == (0, 0, 0)
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def check(server, count):
    flood(server, 60, seed=1)  # what is loaded once is loaded
    before, held = settled(server), memory()
    start = time.monotonic()
    statuses = flood(server, count, seed=2)
    rate = count / (time.monotonic() - start)
    sys.stdout.write(f"{dict(statuses)}, {rate:.0f}/s, {memory() - held:.1f} MB more\n")
    assert settled(server) == before
    assert sum(statuses.values()) == count
    assert statuses[200] > count / 20
    assert statuses[400] > count / 20
    assert statuses[415] + statuses[422] > count / 20
    events = Counter(json.loads(line)["event"] for line in server.heard.getvalue().splitlines())
    assert not events["fault"]
    assert Client(server).predict(picture("green")).json["label"] == "green"
    return memory() - held


def test_300_spoilt_requests(server):
    check(server, 300)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_10_000_spoilt_requests_and_no_leak(server):
    assert check(server, 10_000) < 100
