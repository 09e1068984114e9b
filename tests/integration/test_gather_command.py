"""`tellapart gather` and `verify` as a user runs them, on links of a real server."""

import csv
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tellapart import gather, verify
from web.behaviours import many, picture, slow, status
from web.server import Server

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "anime_cartoon"


def rows_of(data):
    with (data / "receipt.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def links_file(folder, name, urls):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n".join(urls) + "\n")
    return path


@pytest.fixture
def command(environment):
    """The gather command as a list, for processes that are to be killed."""
    return lambda *arguments: (
        [
            sys.executable,
            "-m",
            "tellapart.cli.main",
            "gather",
            *map(str, arguments),
            "--allow-private",
            "--quiet",
            "--per-host",
            "64",
        ]
    )


def test_from_links_to_a_classifier_in_two_commands(tellapart, gallery, tmp_path):
    """The path of a first project, with the counts agreeing throughout."""
    files = sorted(p for p in gallery.rglob("*.*") if p.parent.name in ("painting", "sculpture"))
    routes = {f"/{p.parent.name}/{p.name}": picture(p.read_bytes()) for p in files}
    with Server(routes) as server:
        lists = []
        for label in ("painting", "sculpture"):
            urls = [server.url(path) for path in routes if path.startswith(f"/{label}/")]
            lists.append(
                links_file(tmp_path, f"urls_{label}.csv", [*urls, server.url(f"/{label}")])
            )
        done = tellapart("gather", *lists, "--into", tmp_path / "data", "--allow-private")
    assert done.returncode == 3
    assert "HTTP 404" in done.stdout
    assert f"tellapart train {tmp_path / 'data'}" in done.stderr
    rows = rows_of(tmp_path / "data")
    assert Counter(row["status"] for row in rows) == {"ok": len(files), "failed": 2}
    trained = tellapart("train", tmp_path / "data", "--out", tmp_path / "run", "--json")
    assert trained.returncode == 0, trained.stderr
    counts = json.loads(trained.stdout)["dataset"]["counts"]
    trained_on = sum((Counter(of_split) for of_split in counts.values()), Counter())
    assert trained_on == Counter(row["class"] for row in rows if row["status"] == "ok")
    again = tellapart(
        "train", tmp_path / "data" / "receipt.csv", "--out", tmp_path / "run2", "--json"
    )
    assert json.loads(again.stdout)["dataset"]["counts"] == counts


def test_the_command_has_the_defaults_of_the_function():
    """They stand in both places, since help must not import what the function needs."""
    from tellapart.cli.gather import gather as command
    from tellapart.cli.verify import verify as verify_command

    for ours, theirs in ((command, gather), (verify_command, verify)):
        shared = inspect.signature(ours).parameters.keys() & inspect.signature(theirs).parameters
        assert len(shared) >= 5
        for name in shared - {"into", "data"}:
            default = inspect.signature(ours).parameters[name].default
            assert default == inspect.signature(theirs).parameters[name].default, name


def test_output_and_exit_status(tellapart, tmp_path):
    with Server({"/many/*": many(3)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(3)]
        cats = links_file(tmp_path, "cats.txt", urls[:2])
        dogs = links_file(tmp_path, "dogs.txt", urls[2:])
        named = ["--class", f"cat={cats}", "--class", f"dog={dogs}", "--into", tmp_path / "data"]
        done = tellapart("gather", *named, "--allow-private", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["pictures"] == 3
        assert found["counts"] == {"cat": {"ok": 2}, "dog": {"ok": 1}}
        assert found["reasons"] == []
        quiet = tellapart("gather", *named, "--allow-private", "--quiet")
        assert quiet.stderr == ""
        assert "stored" in quiet.stdout
        assert server.hits.total() == 3
        refused = tellapart("gather", *named[:4], "--into", tmp_path / "other", "--json")
        assert refused.returncode == 3
        assert json.loads(refused.stdout)["reasons"][0]["reason"] == "private address"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--into", "data"],
        ["urls_cat.csv"],
        ["urls_cat.csv", "--into", "data", "--timeout", "0"],
        ["urls_cat.csv", "--into", "data", "--conflicts", "maybe"],
        ["urls_cat.csv", "--into", "data", "--class", "cat=urls_cat.csv"],
        ["--into", "data", "--class", "cat"],
        ["--into", "data", "--class", "../up=urls_cat.csv"],
        ["missing.csv", "--into", "data"],
        ["links.txt", "--into", "data"],
    ],
)
def test_wrong_use(tellapart, tmp_path, arguments):
    links_file(tmp_path, "urls_cat.csv", ["http://127.0.0.1:9/1.jpg"])
    links_file(tmp_path, "links.txt", ["http://127.0.0.1:9/1.jpg"])
    done = tellapart("gather", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_verify(tellapart, tmp_path, write_picture):
    for number in range(4):
        write_picture(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", (40, 40))
    good = tellapart("verify", tmp_path / "photos")
    assert good.returncode == 0, good.stderr
    (tmp_path / "photos" / "a" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    done = tellapart(
        "verify", tmp_path / "photos", "--copy-to", tmp_path / "clean", "--max-size", "32"
    )
    assert done.returncode == 3
    assert "cut.jpg" in done.stdout
    assert "tellapart train" in done.stderr
    assert len(list((tmp_path / "clean").rglob("*.png"))) == 4
    assert tellapart("verify", tmp_path / "nowhere").returncode == 1


def test_interrupted_the_links_in_hand_end_and_the_next_time_goes_on(
    command, environment, tmp_path
):
    with Server({"/many/*": slow(0.3, many(400))}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(400)]
        arguments = command(links_file(tmp_path, "urls_a.csv", urls), "--into", tmp_path / "data")
        with subprocess.Popen(
            arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            while server.hits.total() < 60:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "goes on" in said
        rows = rows_of(tmp_path / "data")
        assert {row["url"] for row in rows} == {server.url(target) for target in server.hits}
        assert 60 <= len(rows) < 400
        assert {row["status"] for row in rows} == {"ok"}
        assert subprocess.run(arguments, env=environment, capture_output=True).returncode == 0
        assert server.hits.total() == 400
    assert len(rows_of(tmp_path / "data")) == 400


def test_interrupted_twice_nothing_is_waited_for(command, environment, tmp_path):
    with Server({"/*": slow(30)}) as server:
        urls = [server.url(f"/{n}") for n in range(40)]
        arguments = command(links_file(tmp_path, "urls_a.csv", urls), "--into", tmp_path / "data")
        with subprocess.Popen(
            arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            while server.hits.total() < 20:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 15
        assert process.returncode == 130
        assert "Traceback" not in said
        assert rows_of(tmp_path / "data") == []


def test_nothing_but_the_table_where_all_fails(tellapart, tmp_path):
    links = links_file(tmp_path, "urls_a.csv", ["http://127.0.0.1:9/1.jpg", "nonsense"])
    done = tellapart("gather", links, "--into", tmp_path / "data", "--quiet")
    assert done.returncode == 3
    assert done.stderr == ""
    done = tellapart("gather", links, "--into", tmp_path / "data")
    assert "--allow-private" in done.stderr
    assert "line 2" in done.stderr
    assert "tellapart train" not in done.stderr


def kill_and_complete(command, environment, scratch, count, moments, delay):
    """Gather `count` links and kill -9 at each of the `moments`, then let it end. A moment is so many
    requests, and seconds after them. How often it was killed at work, and how many links had
    succeeded before the last time."""
    missing = status(404)
    routes = {"/many/*": slow(delay, many(count)), "/many/7.jpg": missing}
    with Server(routes) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(count)]
        urls += [server.url("/many/1.jpg?again"), "no link"]
        arguments = command(
            links_file(scratch, "urls_a.csv", urls), "--into", scratch / "data",
            "--max-per-class", len(urls),
        )  # fmt: skip
        killed, succeeded = 0, {}
        for requests, seconds in moments:
            wanted = server.hits.total() + requests
            with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
                while server.hits.total() < wanted and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(seconds)
                killed += process.poll() is None
                process.kill()
            if (scratch / "data" / "receipt.csv").exists():
                rows = rows_of(scratch / "data")
                succeeded |= {
                    row["url"]: server.hits[row["url"].removeprefix(server.url(""))]
                    for row in rows
                    if row["status"] in ("ok", "duplicate") and row["url"] not in succeeded
                }
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
        assert done.returncode == 3, done.stderr
        for url, hits in succeeded.items():
            assert server.hits[url.removeprefix(server.url(""))] == hits, "asked for again"
    rows = rows_of(scratch / "data")
    assert [row["url"] for row in rows] == urls
    expected = ["ok"] * count + ["duplicate", "failed"]
    expected[7] = "failed"
    assert [row["status"] for row in rows] == expected
    for row in rows:
        if row["path"]:
            with Image.open(scratch / "data" / row["path"]) as image:
                image.load()
    files = [p for p in (scratch / "data").rglob("*") if p.is_file()]
    assert len(files) == count - 1 + 1  # each picture once, and the receipt
    assert not list((scratch / "data").glob(".*"))
    return killed, len(succeeded)


def test_killed_thrice(command, environment, tmp_path):
    killed, succeeded = kill_and_complete(
        command, environment, tmp_path, 400, ((40, 0.3), (1, 0.0), (70, 0.1)), delay=0.1
    )
    assert killed == 3
    assert succeeded >= 20


@pytest.mark.slow
def test_killed_ten_times_during_two_thousand_links(command, environment, tmp_path):
    chance = random.Random(0)
    moments = [(chance.randrange(1, 250), chance.uniform(0, 0.4)) for _ in range(10)]
    killed, succeeded = kill_and_complete(command, environment, tmp_path, 2000, moments, delay=0.2)
    assert killed == 10
    assert succeeded >= 500


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_ten_thousand_links_in_flat_memory(command, environment, tmp_path):
    with Server({"/many/*": many(10_000)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(10_000)]
        arguments = command(
            links_file(tmp_path, "urls_a.csv", urls), "--into", tmp_path / "data",
            "--max-per-class", 10_000, "--concurrency", 64,
        )  # fmt: skip
        resident = {}
        with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                with_status = Path(f"/proc/{process.pid}/status")
                lines = with_status.read_text().splitlines() if with_status.exists() else []
                for line in lines:
                    if line.startswith("VmRSS:"):
                        resident[server.hits.total()] = int(line.split()[1])
                time.sleep(0.05)
    assert process.returncode == 0
    assert len(os.listdir(tmp_path / "data" / "a")) == 10_000
    warm = max(kilobytes for done, kilobytes in resident.items() if 1000 < done <= 4000)
    late = max(kilobytes for done, kilobytes in resident.items() if done > 8000)
    assert late < warm + 16_384, (warm, late)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the pictures of ../shared/data")
def test_real_pictures_come_as_they_are(tellapart, tmp_path):
    files = sorted(SHARED.rglob("*.jpg"))[::10]
    with Server({f"/{n}": picture(p.read_bytes()) for n, p in enumerate(files)}) as server:
        cats = links_file(tmp_path, "urls_a.csv", [server.url(f"/{n}") for n in range(len(files))])
        done = tellapart("gather", cats, "--into", tmp_path / "data", "--allow-private")
    assert done.returncode == 0, done.stdout + done.stderr
    stored = {row["path"] for row in rows_of(tmp_path / "data")}
    contents = {(tmp_path / "data" / path).read_bytes() for path in stored}
    assert contents == {p.read_bytes() for p in files}
