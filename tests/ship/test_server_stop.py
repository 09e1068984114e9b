"""`tellapart serve` as a process: what it prints, and that it ends without losing an answer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from made_export import made_export
from serve_process import ServeProcess, serve_command
from serving import TOKEN, Client, Slow, answered_by, connected, head, heard, picture, until

from tellapart.ship.server.limits import Limits
from tellapart.ship.server.server import ModelServer

CONTAINER = {"PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}  # as in the Dockerfile


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("stopped") / "colours.onnx")


def test_the_command_serves_and_says_where(model):
    with ServeProcess(model, "--workers", 1, "--most-files", 2) as server:
        assert server.said["classes"] == ["red", "green", "blue"]
        client = Client(server)
        assert client.predict(picture("green")).json["label"] == "green"
        assert client.predict_form(*[picture()] * 3).status == 413
        server.signal(signal.SIGINT)
        status, log = server.end()
    assert status == 0
    events = [line["event"] for line in log]
    assert "stopping" in events
    assert events[-1] == "stopped"


def test_the_token_comes_by_file_or_environment(model, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    for more, environment in ((("--token-file", file), {}), ((), {"TELLAPART_TOKEN": TOKEN})):
        with ServeProcess(model, "--quiet", *more, environment=environment) as server:
            assert Client(server).predict(picture()).status == 401
            assert Client(server, TOKEN).predict(picture()).status == 200
            server.signal()
            assert server.end() == (0, [])


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["{gone}"], 1, "gone.onnx"),
        (["{model}", "--host", "198.51.100.7"], 2, "cannot be had"),
        (["{model}", "--token-file", "{gone}"], 2, "--token-file"),
        (["{model}", "--deadline", "0"], 2, "deadline"),
        (["{model}", "--runtime", "abacus"], 2, "abacus"),
        (["{model}", "--target-error", "1%"], 2, "no threshold"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(model, tmp_path, arguments, status, says):
    places = {"model": model, "gone": tmp_path / "gone.onnx"}
    command = serve_command(*(one.format(**places) for one in arguments), "--port", 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_another_host_is_noted_as_a_risk(model):
    with ServeProcess(model, "--host", "0.0.0.0") as server:
        server.signal()
        _, log = server.process.communicate(timeout=60)
    assert "Note: 0.0.0.0 can be reached from other machines" in log
    assert "TELLAPART_TOKEN" in log


def test_importing_the_command_loads_no_server():
    code = "import tellapart.cli.serve, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"fastapi", "uvicorn", "starlette", "python_multipart", "prometheus_client",
                         "numpy", "onnxruntime", "PIL"}  # fmt: skip


def test_sigterm_under_load_loses_no_answer_and_ends_with_0(model):
    """Many askers, each on its own connection, one request after another, until the server has gone."""
    answers, lost = [], []
    content = picture(size=(1200, 900))
    enough = threading.Event()

    def ask(server):
        client = Client(server, keep=True)
        while True:
            try:
                status = client.predict(content).status
            except ConnectionRefusedError:  # it has gone: nobody was asked
                break
            except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
                lost.append(repr(error))
                break
            except OSError as error:
                lost.append(repr(error))
                break
            except (
                Exception
            ) as error:  # http.client: closed without an answer, between two requests
                if "without response" not in str(error):
                    lost.append(repr(error))
                break
            answers.append(status)
            if len(answers) > 30:
                enough.set()
        client.close()

    with ServeProcess(model) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        server.signal(signal.SIGTERM)
        status, log = server.end()
        for thread in threads:
            thread.join(30)
    assert status == 0
    assert set(answers) <= {200, 503}
    asked = [line for line in log if line["event"] == "request"]
    taken = [line for line in asked if line["status"] == 200]
    assert len(taken) == answers.count(200)  # what it has answered has arrived
    assert {line["status"] for line in asked} <= {200, 503}
    stopped_at = next(i for i, line in enumerate(log) if line["event"] == "stopping")
    assert any(line["event"] == "request" for line in log[:stopped_at])


def test_while_it_stops_what_was_taken_is_answered_and_nothing_else_is(model):
    held = threading.Event()
    with (
        ModelServer(model, workers=1) as server,
        answered_by(server, Slow(until=held), 0.001) as slow,
    ):
        with connected(server) as early, connected(server) as late:
            content = picture()
            early.sendall(head(server, len(content), "Connection: close") + content)
            late.sendall(head(server, len(content), "Connection: close") + content[:100])
            until(lambda: len(slow.names) == 1)
            until(lambda: server.service.busy == 2)
            server.stop()
            other = Client(server)
            refused = other.predict(content)
            assert refused.status == 503
            assert "stopping" in refused.error
            assert refused.headers["Retry-After"] == "1"
            assert refused.headers["Connection"] == "close"
            assert other.ask("/readyz").status == 503
            assert other.ask("/healthz").status == 200
            time.sleep(1.5)  # it waits for them, and not just for a moment
            assert other.ask("/healthz").status == 200
            late.sendall(content[100:])  # its head was taken before
            held.set()
            assert heard(early).startswith(b"HTTP/1.1 200 ")
            assert heard(late).startswith(b"HTTP/1.1 200 ")
        server._thread.join(20)
        assert not server._thread.is_alive()


def test_a_stop_does_not_wait_for_ever(model):
    held = threading.Event()
    limits = Limits(deadline=0.5)
    with ModelServer(model, workers=1, limits=limits) as server, connected(server) as sock:
        sock.sendall(head(server, 1000))  # and no body
        until(lambda: server.service.busy == 1)
        start = time.monotonic()
        server.stop()
        server._thread.join(30)
        assert not server._thread.is_alive()
        assert time.monotonic() - start < 25
    held.set()


def test_a_second_stop_ends_it_at_once(model):
    with (
        ModelServer(model, workers=1, limits=Limits(deadline=300)) as server,
        connected(server) as sock,
    ):
        sock.sendall(head(server, 1000))
        until(lambda: server.service.busy == 1)
        server.stop()
        time.sleep(0.5)
        assert server._thread.is_alive()
        server.stop()
        server._thread.join(20)
        assert not server._thread.is_alive()


def test_sigterm_before_it_answers_ends_it_in_peace(model):
    """It is caught while it loads: a container's first process ignores a signal that it did not ask for."""
    code = (
        "import sys, os, signal, threading; from tellapart.ship.server import current_model, server; "
        "load = current_model.load; "
        "current_model.load = lambda *a, **o: (os.kill(os.getpid(), signal.SIGTERM), load(*a, **o))[1]; "
        "server.serve(sys.argv[1], port=0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout == ""  # it never said that it could be asked
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "model_loaded",
        "stopped",
    ]


def test_it_needs_no_disk_to_write_to(model, tmp_path):
    """With no home, and with temporary files that cannot be: forms of many megabytes stay in memory."""
    gone = str(tmp_path / "none")
    places = dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"), gone)
    before = {path: path.stat().st_mtime_ns for path in model.parent.iterdir()}
    with ServeProcess(model, environment={**places, **CONTAINER}) as server:
        large = picture() + os.urandom(9_000_000)
        answer = Client(server).predict_form(("a.jpg", large), picture(), large)
        assert [row["error"] for row in answer.json["predictions"]] == [None] * 3
        files = [os.readlink(f"/proc/{server.process.pid}/fd/{fd}")
                 for fd in os.listdir(f"/proc/{server.process.pid}/fd")]  # fmt: skip
        assert not [file for file in files if "tmp" in file.lower() and "deleted" in file]
        server.signal()
        assert server.end()[0] == 0
    assert {path: path.stat().st_mtime_ns for path in model.parent.iterdir()} == before
    assert not (tmp_path / "none").exists()
