"""`tellapart clean`: the link, how it ends, and the table that --apply writes."""

import json
import os
import shutil
import signal
import subprocess
import time

import httpx
import pytest
from clean_process import clean_command, started
from few_photos import draw_photos

import tellapart
from tellapart.errors import UsageError
from tellapart.review.server import ReviewServer
from tellapart.review.server import clean as serve


@pytest.fixture
def own(tmp_path):
    return draw_photos(tmp_path / "photos")


def run(*arguments, **options):
    return subprocess.run(clean_command(*arguments), capture_output=True, text=True, **options)


def decide(answer, *decisions):
    base, token = answer["url"].split("?token=")
    content = {"key": "batch-0001", "who": "ann", "queue": "random", "decisions": list(decisions)}
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{base}api/decisions", json=content, headers=headers).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_next_command_is_told(own, tmp_path, number):
    process, answer = started(own, "--workers", 1, cwd=tmp_path)
    assert answer["journal"] == "reviews/photos/review.sqlite"
    decide(answer, {"id": 0, "action": "remove"}, {"id": 1, "action": "keep"})
    process.send_signal(number)
    output, messages = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert "2 decisions kept in reviews/photos/review.sqlite" in messages
    assert f"tellapart clean {own} --apply" in messages
    assert "Traceback" not in messages
    assert not list(own.glob("*.csv"))

    done = run(own, "--apply", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("40 pictures in ")
    assert f"tellapart train {own}/cleaned.csv" in done.stderr
    assert len(tellapart.open_dataset(own / "cleaned.csv")) == 40

    shutil.copy(own / "red" / "3.png", own / "blue" / "1.png")  # id 1 is among these two
    shutil.copy(own / "red" / "3.png", own / "blue" / "0.png")
    done = run(own, "--apply", "--json", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert {f["reason"] for f in json.loads(done.stdout)["failures"]} == {"changed"}


def test_it_ends_when_nobody_asks(photos, tmp_path):
    process, _ = started(photos, "--idle", 0.02, "--journal", tmp_path / "j.sqlite", "--workers", 1)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "0 decisions kept in" in messages
    assert "--apply" not in messages


def test_the_link_alone_is_printed(photos, tmp_path):
    command = clean_command(
        photos, "--journal", tmp_path / "j.sqlite", "--idle", 0.01, "--no-browser"
    )
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http://127.0.0.1:")
    assert done.stdout.count("\n") == 1
    assert "Ctrl-C" in done.stderr


def test_the_browser_gets_a_link_that_works_once(photos, tmp_path):
    """A link in a command line can be read by others; the token is not in it."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/opened\n')
    browser.chmod(0o700)
    environment = {**os.environ, "BROWSER": str(browser)}
    command = clean_command(photos, "--journal", tmp_path / "j.sqlite", "--idle", 0.03)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    opened = (tmp_path / "opened").read_text().strip()
    assert opened.split("?token=")[0] == done.stdout.strip().split("?token=")[0]
    assert opened != done.stdout.strip()


def test_another_host_is_said_to_be_open_to_others(photos, tmp_path):
    done = run(
        photos, "--host", "0.0.0.0", "--idle", 0.01, "--journal", tmp_path / "j", "--no-browser"
    )
    assert done.returncode == 0
    assert "can be reached from other machines" in done.stderr
    assert done.stdout.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("nowhere",), 1, "nowhere does not exist"),
        (("{photos}", "--out", "x.csv"), 2, "add --apply"),
        (("{photos}", "--apply", "--out", "x.csv"), 1, "nothing has been decided yet"),
        (("{photos}", "--host", "no.such.host.invalid"), 2, "no address of this machine"),
        (("{photos}", "--journal", "{photos}/red/1.png"), 1, "is damaged, or no journal"),
        (("{photos}", "--preset", "fastest"), 2, "fastest"),
    ],
)
def test_what_cannot_be_is_said(photos, tmp_path, arguments, status, words):
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    done = run(*(a.format(photos=photos) for a in arguments), cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in photos.rglob("*.png")} == before


def test_a_network_does_not_go_with_a_run(photos, tmp_path):
    run_folder = tellapart.train(photos, tmp_path / "run", workers=1).folder
    done = run(run_folder, "--backbone", "tf_efficientnet_lite2")
    assert (done.returncode, "is a run" in done.stderr) == (2, True)


def test_in_python_it_can_be_stopped(photos, tmp_path):
    seen = []

    def ready(server):
        seen.append(server.url)
        server.stop()

    kept = serve(
        photos, journal=tmp_path / "j.sqlite", browser=False, workers=1, who="ann", ready=ready
    )
    assert kept.decisions == 0
    assert seen[0].startswith("http://127.0.0.1:")
    with pytest.raises(UsageError, match="cannot be had"):
        serve(photos, host="192.0.2.1", browser=False)


def test_a_page_that_asks_keeps_it_awake(review):
    server = ReviewServer(review)
    import threading

    thread = threading.Thread(target=server.serve, args=(0.01,))
    thread.start()
    headers = {"Authorization": f"Bearer {server.access.token}"}
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert httpx.get(f"{server.address}api/state", headers=headers).status_code == 200
        time.sleep(0.1)
    assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()
