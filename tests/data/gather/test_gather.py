"""Gathering from a real server that answers well, badly, slowly or not at all."""

import asyncio
import csv
import hashlib
import itertools
import os
import shutil
import subprocess
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tellapart
from tellapart.data.gather import session
from tellapart.data.receipt import ReceiptRow
from tellapart.errors import DatasetError, UsageError
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
    head_of,
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
from web.pictures import sample
from web.server import Server


def numbered(count, start=0):
    """Behaviours with pictures that all differ."""
    return [picture(sample(start + number)) for number in range(count)]


def png(size, mode="RGB", seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    pixels = Image.fromarray(noise).convert(mode)
    content = BytesIO()
    pixels.save(content, "PNG")
    return content.getvalue()


def stored(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.suffix != ".csv"
    )


PUBLIC = "93.184.215.14"  # where nothing answers from here

# What each answer comes to: path, behaviour → status, reason, HTTP status, tries

A = numbered(20)
ANSWERS = {
    "/well.jpg": (A[0], "ok", "", 200, 1),
    "/slow.jpg": (slow(0.5, A[1]), "ok", "", 200, 1),
    "/chunked.jpg": (chunked(sample(100)), "ok", "", 200, 1),
    "/old.jpg": (http_1_0(sample(101)), "ok", "", 200, 1),
    "/404.jpg": (status(404), "failed", "HTTP 404", 404, 1),
    "/403.jpg": (status(403), "failed", "HTTP 403", 403, 1),
    "/410.jpg": (status(410), "failed", "HTTP 410", 410, 1),
    "/204.jpg": (status(204), "failed", "HTTP 204", 204, 1),
    "/429.jpg": (first(1, status(429, headers={"Retry-After": "1"}), A[2]), "ok", "", 200, 2),
    "/500.jpg": (first(2, status(500), A[3]), "ok", "", 200, 3),
    "/503.jpg": (status(503), "failed", "HTTP 503", 503, 4),
    "/hours.jpg": (status(503, headers={"Retry-After": "9000"}), "failed", "HTTP 503", 503, 1),
    "/reset.jpg": (reset(), "failed", "connection broken", None, 4),
    "/reset-once.jpg": (first(1, reset(), A[4]), "ok", "", 200, 2),
    "/midway.jpg": (reset_midway(), "failed", ("incomplete", "connection broken"), 200, 4),
    "/hang-up.jpg": (first(1, hang_up(), A[5]), "ok", "", 200, 2),
    "/endless.jpg": (endless(), "failed", "too large", 200, 1),
    "/endless-plain.jpg": (endless(in_chunks=False), "failed", "too large", 200, 1),
    "/never.jpg": (never(), "failed", "timeout", None, 1),
    "/drip.jpg": (drip(), "failed", "timeout", 200, 1),
    "/stall.jpg": (stall(), "failed", "timeout", 200, 1),
    "/longer.jpg": (wrong_length(more=100), "failed", "incomplete", 200, 4),
    "/shorter.jpg": (wrong_length(more=-3000), "failed", ("truncated", "bad answer"), None, 1),
    "/cut.jpg": (cut(), "failed", "truncated", 200, 1),
    "/page.jpg": (html(), "failed", "not an image", 200, 1),
    "/empty.jpg": (picture(b""), "failed", "empty", 200, 1),
    "/bomb.png": (bomb(), "failed", "too many pixels", 200, 1),
    "/zip-bomb.jpg": (gzip_bomb(64), "failed", "too large", 200, 1),
    "/tiny.png": (picture(png((40, 15))), "failed", "too small", 200, 1),
    "/loop": (redirect("/loop"), "failed", "too many redirects", 302, 1),
    "/nowhere": (redirect(""), "failed", "bad redirect", 302, 1),
    "/ftp": (redirect("ftp://example.org/a.jpg"), "failed", "bad redirect", 302, 1),
    "/moved": (redirect("/well-2.jpg", 301), "ok", "", 200, 1),
    "/private": (redirect("http://127.0.0.2:{port}/secret"), "failed", "private address", None, 1),
    "/router": (redirect("http://192.168.0.1/secret"), "failed", "private address", None, 1),
    "/metadata": (redirect("http://169.254.169.254/latest"), "failed", "private address", None, 1),
    "/noai.jpg": (robots("noai"), "failed", "refused by robots tag", 200, 1),
    "/otherbot.jpg": (robots("otherbot: noindex", sample(102)), "ok", "", 200, 1),
    "/garbage.jpg": (garbage(), "failed", "bad answer", None, 1),
    "/header.jpg": (oversized_header(), "failed", "bad answer", None, 1),
    "/odd-header.jpg": (bad_headers(), "failed", "bad answer", None, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def misbehaving():
    routes = {path: answer[0] for path, answer in ANSWERS.items()}
    routes["/well-2.jpg"] = picture(sample(103))
    routes["/secret"] = picture(sample(104))
    with Server(routes) as server:
        server.routes["/private"] = redirect(f"http://127.0.0.2:{server.port}/secret")
        yield server


def test_every_answer_comes_to_its_row(misbehaving, get, tmp_path):
    urls = {path: misbehaving.url(path) for path in ANSWERS}
    rows = get(urls.values(), timeout=1.5, max_bytes=300_000, per_host=32)
    assert len(rows) == len(ANSWERS)
    for path, (_, outcome, reason, http_status, tries) in ANSWERS.items():
        row = rows[urls[path]]
        reasons = reason if isinstance(reason, tuple) else (reason,)
        assert row.status == outcome, row
        assert row.http_status == http_status or path == "/shorter.jpg", row
        assert row.reason in reasons, row
        assert bool(row.path) == (outcome == "ok"), row
        hits = misbehaving.hits[path]
        if path in ("/reset.jpg", "/reset-once.jpg", "/hang-up.jpg"):
            # aiohttp asks once more where a connection that was kept alive turns out to be dead.
            assert row.tries <= tries <= hits <= 2 * tries, row
        else:
            assert row.tries == tries, row
            assert hits == (11 if path == "/loop" else tries), row
    assert misbehaving.hits["/secret"] == 0
    waited = misbehaving.times["/429.jpg"]
    assert waited[1] - waited[0] >= 1.0
    assert len(stored(tmp_path / "data")) == sum(row.status == "ok" for row in rows.values())


def test_a_row_tells_what_is_in_its_file(get, tmp_path):
    content = png((80, 60))
    with Server({"/a%20b": picture(content), "/go": redirect("/a%20b")}) as server:
        row = get([server.url("/go")])[server.url("/go")]
    assert row.final_url == server.url("/a%20b")
    assert (row.width, row.height, row.bytes) == (80, 60, len(content))
    assert row.sha256 == hashlib.sha256(content).hexdigest()
    assert row.path == f"cat/{row.sha256}.png"
    assert (tmp_path / "data" / row.path).read_bytes() == content
    with (tmp_path / "data" / "receipt.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (
        list(line)[:13]
        == (
            "url class status reason http_status tries final_url bytes width height sha256 path seconds"
        ).split()
    )
    assert line["class"] == "cat"
    assert line["sha256"] == row.sha256


def test_query_strings_matter_and_are_sent_as_they_stand(get):
    pictures = {f"id={n}": picture(sample(n)) for n in range(5)}
    odd = "sig=a%2Fb+c%20d%3d&x=%e9&n=7"
    pictures[odd] = picture(sample(9))
    with Server({"/p": by_query(lambda query: pictures.get(query, status(404)))}) as server:
        rows = get([server.url(f"/p?{query}") for query in pictures])
        assert server.hits[f"/p?{odd}"] == 1
    assert [row.status for row in rows.values()] == ["ok"] * 6
    assert len({row.sha256 for row in rows.values()}) == 6


def test_the_same_bytes_from_many_links_are_stored_once_and_said(loopback_is_public, tmp_path):
    with Server({"/gone/*": picture(sample(1)), "/a": picture(sample(2))}) as server:
        links = [server.url(f"/gone/{n}") for n in range(7)] + [server.url("/a")]
        dataset, receipt = tellapart.gather({"cat": links}, tmp_path)
    assert len(dataset) == len(stored(tmp_path)) == 2
    assert [row.status for row in receipt.rows] == ["ok", *["duplicate"] * 6, "ok"]
    assert len({row.path for row in receipt.rows[:7]}) == 1
    assert any("7 links" in note for note in receipt.notes)
    assert not receipt.lost


def test_memory_does_not_grow_with_a_body(get, tmp_path):
    """A picture followed by bytes without meaning, a few and very many."""

    def long(megabytes):
        start = sample(3)
        length = {"Content-Length": str(len(start) + (megabytes << 20))}

        async def answer(exchange):
            await exchange.send(head_of(200, length) + start)
            for _ in range(16 * megabytes - 1):
                await exchange.send(zeros)
            exchange.finish_with(zeros)

        return answer

    zeros = bytes(1 << 16)
    peaks = []
    for megabytes in (1, 40):
        with Server({"/big.jpg": long(megabytes)}) as server:
            tracemalloc.start()
            (row,) = get([server.url("/big.jpg")], tmp_path / str(megabytes)).values()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert row.status == "ok"
        assert row.bytes > megabytes << 20
    assert peaks[1] < peaks[0] + (4 << 20)


def test_a_compressed_answer_is_unpacked_within_bounds(get):
    import gzip

    packed = {"Content-Encoding": "gzip"}
    well, long = gzip.compress(sample(1)), gzip.compress(sample(1) + bytes(8 << 20))
    routes = {
        "/well": picture(well, headers=packed),
        "/long": picture(long, headers=packed),
        "/bad": picture(well[:200] + bytes(300), headers=packed),
        "/odd": picture(well, headers={"Content-Encoding": "secret"}),
    }
    with Server(routes) as server:
        rows = get(map(server.url, routes), max_bytes=1 << 20)
    found = [(row.status, row.reason) for row in rows.values()]
    assert found[0] == ("ok", "")
    assert found[1] == ("failed", "too large")
    assert found[2][0] == "failed"
    assert found[3] == ("failed", "unknown encoding")


def test_few_requests_to_one_host_and_all_hosts_in_turn(get):
    with Server({"/*": slow(0.05, picture(sample(1)))}) as server:
        urls = [server.url(f"/{n}", host) for host in ("127.0.0.1", "localhost") for n in range(12)]
        get(urls, per_host=3, concurrency=10, allow_private=True)
        assert set(server.most_at_once_of.values()) == {3}
        assert server.most_at_once == 6


def test_a_rest_that_a_host_asks_for_is_kept_by_all_requests_to_it(get):
    busy = first(1, status(429, headers={"Retry-After": "1"}), picture(sample(1)))
    with Server({"/busy": busy, "/many/*": many(6)}) as server:
        get([server.url("/busy"), *(server.url(f"/many/{n}.jpg") for n in range(6))], per_host=1)
        began = sorted(at for times in server.times.values() for at in times)
    assert began[1] - began[0] >= 1.0


def test_who_asks_is_said(get):
    with Server({"/*": picture(sample(1))}) as server:
        get([server.url("/a")])
        get([server.url("/b")], user_agent="pets of Ann (ann@example.org)")
        assert server.headers["/a"]["user-agent"].startswith("tellapart/")
        assert server.headers["/b"]["user-agent"] == "pets of Ann (ann@example.org)"
        assert "cookie" not in server.headers["/b"]


# Addresses


def test_private_addresses_are_refused(tmp_path):
    with Server({"/*": picture()}) as server:
        hosts = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]",
                 "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]  # fmt: skip
        urls = [server.url("/", host) for host in hosts]
        urls += ["http://10.0.0.1/", "http://[fe80::1]/", "http://[64:ff9b::a00:1]/"]
        _, receipt = tellapart.gather({"cat": urls}, tmp_path, timeout=5, retries=0)
        assert not server.hits
        assert server.opened == 0
    assert {row.status for row in receipt.rows} == {"failed"}
    assert {row.reason for row in receipt.rows} <= {"private address", "not a URL"}
    assert sum(row.reason == "private address" for row in receipt.rows) >= 9


def test_a_name_that_is_public_first_and_loopback_then_does_not_get_through(monkeypatch, tmp_path):
    """DNS rebinding: whoever looks twice gets two answers. A public one is not reachable from here."""
    asked = []

    def resolve(host, port, *arguments, **options):
        asked.append(host)
        address = PUBLIC if len(asked) == 1 else "127.0.0.1"
        return [(2, 1, 6, "", (address, port))]

    with Server({"/*": picture()}) as server:
        monkeypatch.setattr("socket.getaddrinfo", resolve)
        link = f"http://pictures.example:{server.port}/a.jpg"
        rows = [
            tellapart.gather({"cat": [link]}, tmp_path, timeout=1, retries=3)[1].rows[0]
            for _ in range(2)
        ]
        assert server.opened == 0
    assert len(asked) == 2
    assert [row.status for row in rows] == ["failed"] * 2
    assert rows[0].reason != "private address"
    assert rows[1].reason == "private address"
    assert "127.0.0.1" in rows[1].detail


def test_a_name_with_both_kinds_of_answers_does_not_get_through(monkeypatch, tmp_path):
    def resolve(host, port, *arguments, **options):
        return [(2, 1, 6, "", (address, port)) for address in (PUBLIC, "127.0.0.1")]

    with Server({"/*": picture()}) as server:
        monkeypatch.setattr("socket.getaddrinfo", resolve)
        link = f"http://pictures.example:{server.port}/a.jpg"
        _, receipt = tellapart.gather({"cat": [link]}, tmp_path, timeout=2, retries=0)
        assert server.opened == 0
    assert receipt.rows[0].status == "failed"


# Classes


def test_one_picture_in_two_classes_is_kept_in_neither_until_somebody_says_so(
    loopback_is_public, tmp_path
):
    routes = {f"/{n}": behaviour for n, behaviour in enumerate(numbered(3))}
    routes["/3"] = routes["/0"]
    with Server(routes) as server:
        url = server.url
        lists = {"cat": [url("/0"), url("/1")], "dog": [url("/2"), url("/3")]}

        def again(conflicts=None):
            dataset, receipt = tellapart.gather(lists, tmp_path, conflicts=conflicts)
            assert len(dataset) == len(receipt.stored)
            assert sorted(dataset.paths) == [p for p in stored(tmp_path) if p[0] != "."]
            return dataset.labels, len(receipt.lost), [row.status for row in receipt.rows]

        undecided = (["cat", "dog"], 2, ["conflict", "ok", "ok", "conflict"])
        assert again() == undecided
        assert again() == undecided
        both = (["cat", "cat", "dog", "dog"], 0, ["ok"] * 4)
        assert again("keep") == both
        assert again() == both  # what was decided stays
        assert again("drop") == (["cat", "dog"], 0, undecided[2])
        assert again()[1] == 0
        assert again("first") == (["cat", "cat", "dog"], 0, ["ok", "ok", "ok", "conflict"])
        assert again() == again("first")
        assert all(hits == 1 for hits in server.hits.values())


def test_one_link_in_two_classes_is_asked_for_once(loopback_is_public, tmp_path):
    with Server({"/*": picture()}) as server:
        lists = {"cat": [server.url("/1")], "dog": [server.url("/1")]}
        _, receipt = tellapart.gather(lists, tmp_path, conflicts="keep")
        assert server.hits["/1"] == 1
    assert [(row.label, row.status) for row in receipt.rows] == [("cat", "ok"), ("dog", "ok")]
    assert len(stored(tmp_path)) == 2


def test_links_that_cannot_be_asked_for_are_rows_too(loopback_is_public, tmp_path):
    with Server({"/*": picture()}) as server:
        lines = ["url,label,licence", f"{server.url('/1')},cat,CC0", "nonsense,cat,", "ftp://a/b,dog,",
                 f"{server.url('/2')},../dog,", f"{server.url('/3')},,"]  # fmt: skip
        (tmp_path / "links.csv").write_text("\n".join(lines))
        _, receipt = tellapart.gather(tmp_path / "links.csv", tmp_path / "data")
    assert [row.status for row in receipt.rows] == ["ok", *["failed"] * 4]
    reasons = ["", "not a URL", "scheme not allowed", "bad class name", "no label"]
    assert [row.reason for row in receipt.rows] == reasons
    assert receipt.rows[0].provenance == '{"licence":"CC0"}'
    assert all("line" in row.detail for row in receipt.rows[1:])
    assert stored(tmp_path / "data") == [receipt.rows[0].path]


def test_the_first_so_many_of_a_class(get):
    with Server({"/many/*": many(9)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(9)]
        rows = get(urls, max_per_class=4)
        assert [row.status for row in rows.values()] == ["ok"] * 4 + ["skipped"] * 5
        assert len(server.hits) == 4
        rows = get(urls, max_per_class=7)
        assert [row.status for row in rows.values()] == ["ok"] * 7 + ["skipped"] * 2
        assert server.hits.total() == 7


# Copies


def test_a_smaller_copy_is_stored_on_request(get, tmp_path):
    routes = {"/large.png": picture(png((900, 300))), "/fits.png": picture(png((200, 90)))}
    with Server(routes) as server:
        large, fits = get(map(server.url, routes), max_size=300).values()
    assert (large.width, large.height) == (300, 100)
    assert (fits.width, fits.height) == (200, 90)
    for row in (large, fits):
        file = tmp_path / "data" / row.path
        content = file.read_bytes()
        assert tellapart.open_image(file).shape == (row.height, row.width, 3)
        assert file.stem == row.sha256 == hashlib.sha256(content).hexdigest()
        assert len(content) == row.bytes
    assert (tmp_path / "data" / fits.path).read_bytes() == png((200, 90))


# Going on


def test_asked_again_only_what_may_come_is_asked_for(get, tmp_path):
    routes = {"/well": picture(), "/gone": status(404), "/ill": status(500)}
    routes["/small"] = picture(png((20, 20)))
    with Server(routes) as server:
        urls = [server.url(path) for path in routes]
        get(urls, retries=0, min_side=64)
        server.routes["/ill"] = picture(sample(5))
        rows = get(urls, retries=0, min_side=64)
        assert [rows[url].status for url in urls] == ["ok", "failed", "ok", "failed"]
        assert [server.hits[path] for path in routes] == [1, 1, 2, 1]
        get(urls, retries=0, min_side=8)  # smaller ones are wanted now
        assert [server.hits[path] for path in routes] == [1, 1, 2, 2]
        get(urls, retries=0, min_side=8, ask_again=True)
        assert [server.hits[path] for path in routes] == [1, 2, 2, 2]


def test_what_was_removed_by_hand_stays_away_and_what_was_edited_stays(get, tmp_path):
    with Server({"/many/*": many(3)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(3)]
        rows = get(urls)
        files = [tmp_path / "data" / rows[url].path for url in urls]
        files[0].unlink()
        Image.new("RGB", (50, 50)).save(files[1])
        edited = files[1].read_bytes()
        files[2].write_bytes(b"")  # as a power cut leaves it
        rows = get(urls)
        assert [rows[url].status for url in urls] == ["skipped", "ok", "ok"]
        assert [server.hits[f"/many/{n}.jpg"] for n in range(3)] == [1, 1, 2]
        assert files[1].read_bytes() == edited
        rows = get(urls)
        assert rows[urls[0]].reason == "removed by hand"
        assert get(urls, ask_again=True)[urls[0]].status == "ok"
        assert files[0].is_file()


def test_other_lists_into_the_same_folder_add_to_it(get, tmp_path):
    with Server({"/many/*": many(3)}) as server:
        get([server.url("/many/0.jpg")], label="cat")
        rows = get([server.url("/many/1.jpg"), server.url("/many/0.jpg")], label="dog")
        assert len(rows) == 2
        text = (tmp_path / "data" / "receipt.csv").read_text()
    assert text.count("in two classes") == 2
    assert server.hits["/many/1.jpg"] == 1


def test_works_where_an_event_loop_is_running(loopback_is_public, tmp_path):
    async def notebook(server):
        return tellapart.gather({"cat": [server.url("/a")]}, tmp_path)

    with Server({"/*": picture()}) as server:
        dataset, _ = asyncio.run(notebook(server))
    assert len(dataset) == 1
    assert not [t for t in threading.enumerate() if t.name.startswith("tellapart")]


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for about ten pictures."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_work_and_keeps_what_came(get, small_disk):
    with Server({"/many/*": many(40)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(40)]
        with pytest.raises(DatasetError, match="No space left"):
            get(urls, into=small_disk / "data")
        came = {path.name for path in (small_disk / "data" / "cat").iterdir()}
        assert 3 <= len(came) < 20
        for path in (small_disk / "data" / "cat").iterdir():
            tellapart.open_image(path)
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        rows = get(urls, into=small_disk / "data")
        assert [row.status for row in rows.values()] == ["ok"] * 40
        again = [target for target, hits in server.hits.items() if hits > 1]
        assert len(again) <= 40 - len(came) + 4  # those on their way when it was full
    assert not list((small_disk / "data").glob(".*"))


def test_a_folder_that_cannot_be_written_ends_the_work(get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").write_text("somebody's file")
    with (
        Server({"/*": picture()}) as server,
        pytest.raises(DatasetError, match="cannot be written"),
    ):
        get([server.url("/a")])
    assert (tmp_path / "data" / "cat").read_text() == "somebody's file"


def workers():
    """The processes that verify pictures for this one."""
    children = Path(f"/proc/{os.getpid()}/task")
    numbers = [n for task in children.iterdir() for n in (task / "children").read_text().split()]
    lines = {int(n): Path(f"/proc/{n}/cmdline").read_bytes() for n in numbers}
    return [n for n, line in lines.items() if b"tellapart.data.gather.worker" in line]


def test_a_crash_of_a_decoder_takes_no_other_picture_along(get):
    killed = []
    end = time.monotonic() + 60

    def kill():
        while len(killed) < 3 and time.monotonic() < end:
            for number in workers():
                with suppress(ProcessLookupError):
                    os.kill(number, 9)
                    killed.append(number)
            time.sleep(0.5)

    with Server({"/many/*": slow(0.02, many(120))}) as server:
        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        rows = get([server.url(f"/many/{n}.jpg") for n in range(120)])
        thread.join()
        assert server.hits.total() == 120
    lost = [row for row in rows.values() if row.status != "ok"]
    assert len(killed) >= 3
    assert len(lost) <= 2
    assert all(row.reason == "damaged" for row in lost)
    assert not workers()


HARMFUL = """
import os, time
import PIL.Image
plain = PIL.Image.open
def harmed(source, *arguments, **options):
    content = source.read()
    source.seek(0)
    if b"CRASH" in content:
        os._exit(11)
    if b"SLOW" in content:
        import tellapart.data.gather.worker, signal
        signal.alarm(1)
        time.sleep(60)
    return plain(source, *arguments, **options)
PIL.Image.open = harmed
"""


def test_pictures_that_crash_or_hold_up_their_decoder(get, tmp_path, monkeypatch):
    """As a fault in a library would: the same picture does so every time."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(HARMFUL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    routes = {"/crash": picture(sample(1) + b"CRASH"), "/slow": picture(sample(2) + b"SLOW")}
    with Server({**routes, "/many/*": many(20)}) as server:
        urls = [server.url(path) for path in routes]
        rows = get([*urls, *(server.url(f"/many/{n}.jpg") for n in range(20))], workers=1)
    assert [(rows[url].status, rows[url].reason) for url in urls] == [
        ("failed", "damaged"), ("failed", "too slow to decode"),
    ]  # fmt: skip
    assert sum(row.status == "ok" for row in rows.values()) == 20


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once(get):
    content = BytesIO()
    Image.new("L", (64, 64)).save(content, "JPEG", progressive=True)
    start, last, end = content.getvalue().rpartition(b"\xff\xda")
    with Server({"/a": picture(start + (last + end[:-2]) * 5000 + end[-2:])}) as server:
        (row,) = get([server.url("/a")]).values()
    assert (row.status, row.reason) == ("failed", "damaged")
    assert "scans" in row.detail


def test_no_answer_ends_the_others(get):
    """A date that no clock can hold, from a server that wants to be asked again then."""
    late = {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}
    with Server({"/late": status(503, headers=late), "/many/*": many(5)}) as server:
        urls = [server.url("/late"), *(server.url(f"/many/{n}.jpg") for n in range(5))]
        rows = get(urls)
    assert [row.status for row in rows.values()] == ["failed", *["ok"] * 5]


def test_a_host_that_only_fails_is_left_alone(get):
    with Server({"/*": status(503)}) as server:
        rows = get([server.url(f"/{n}") for n in range(100)], retries=0)
        assert 20 <= len(server.hits) <= 30
    reasons = Counter(row.reason for row in rows.values())
    assert reasons["host does not answer"] == 100 - len(server.hits)
    assert reasons["HTTP 503"] == len(server.hits)


def test_a_host_that_asks_for_rest_again_and_again_is_left_alone(get, monkeypatch):
    monkeypatch.setattr(session, "_MOST_REST", 2.0)
    with Server({"/*": status(429, headers={"Retry-After": "1"})}) as server:
        rows = get([server.url(f"/{n}") for n in range(30)], per_host=1)
        assert server.hits.total() <= 8
    assert sum(row.reason == "host does not answer" for row in rows.values()) >= 20


def test_waits_before_retries_grow(get, monkeypatch):
    with Server({"/ill": status(500)}) as server:
        monkeypatch.setattr(session, "_BACKOFF", 0.2)
        get([server.url("/ill")], retries=3)
        times = server.times["/ill"]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    for gap, backoff in zip(gaps, (0.2, 0.4, 0.8), strict=True):
        assert gap >= 0.5 * backoff


def test_proxies_of_the_environment_are_not_asked(get, monkeypatch):
    """A proxy would make the connection, and with it the choice of the address."""
    with Server({"/*": status(404)}) as proxy, Server({"/a": picture()}) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        (row,) = get([server.url("/a")]).values()
        assert proxy.opened == 0
    assert row.status == "ok"


def test_after_a_redirect_the_other_host_counts(get):
    """All links of two hosts lead to a third, which has no more requests at a time than others."""
    with Server({"/to/*": by_query(lambda path: redirect(path))}) as server:
        server.routes["/end/*"] = slow(0.05, by_query(lambda n: picture(sample(int(n)))))
        server.routes["/to/*"] = by_query(
            lambda n: redirect(server.url(f"/end/x?{n}", "127.0.0.1"))
        )
        hosts = ["localhost", "127.0.0.2"]
        urls = [server.url(f"/to/x?{n}", hosts[n % 2]) for n in range(16)]
        rows = get(urls, per_host=2, allow_private=True)
        assert server.most_at_once_of[f"127.0.0.1:{server.port}"] <= 2
    assert {row.status for row in rows.values()} <= {"ok", "failed"}
    assert sum(row.status == "ok" for row in rows.values()) >= 8


def test_waiting_for_a_free_place_uses_no_cpu(get):
    slowly = slow(1.5, picture(sample(1)))
    with Server({"/ill": first(1, status(500), picture(sample(2))), "/slow": slowly}) as server:
        before = time.process_time()
        get([server.url("/ill"), server.url("/slow")], concurrency=1)
        assert time.process_time() - before < 1.0


# Files of the user


def test_own_pictures_and_edits_survive_every_decision(loopback_is_public, tmp_path, write_picture):
    with Server({"/both": picture(sample(1)), "/again": picture(sample(1))}) as server:
        lists = {"cat": [server.url("/both")], "dog": [server.url("/both")]}
        own = write_picture(tmp_path / "cat" / "mine.png", (40, 40))
        (tmp_path / "cat" / "same.jpg").write_bytes(sample(1))
        tellapart.verify(tmp_path)
        mine = {path: path.read_bytes() for path in (own, tmp_path / "cat" / "same.jpg")}
        tellapart.gather(lists, tmp_path, conflicts="keep")
        edited = next((tmp_path / "dog").iterdir())
        Image.new("RGB", (50, 50), "red").save(edited)
        mine[edited] = edited.read_bytes()
        for decision in ("first", "drop", "keep", None, "first", None):
            dataset, _ = tellapart.gather(lists, tmp_path, conflicts=decision)
            assert {path: path.read_bytes() for path in mine} == mine
            assert all((tmp_path / path).is_file() for path in dataset.paths)
            tellapart.verify(tmp_path)
            assert {path: path.read_bytes() for path in mine} == mine
        lists["dog"].append(server.url("/again"))  # the same bytes by another link
        tellapart.gather(lists, tmp_path)
        assert {path: path.read_bytes() for path in mine} == mine


def test_a_decision_survives_verify_and_another_order(loopback_is_public, tmp_path):
    with Server({"/both": picture(sample(1)), "/a": picture(sample(2))}) as server:
        cat, dog = {"cat": [server.url("/both")]}, {"dog": [server.url("/both"), server.url("/a")]}
        tellapart.gather({**cat, **dog}, tmp_path, conflicts="first")
        tellapart.verify(tmp_path)
        dataset, receipt = tellapart.gather({**dog, **cat}, tmp_path)
        assert sorted(dataset.labels) == ["cat", "dog"]
        assert not receipt.lost
        assert server.hits.total() == 2


def test_a_corrected_list_corrects_the_data(loopback_is_public, tmp_path):
    with Server({"/many/*": many(4)}) as server:
        urls = [server.url(f"/many/{n}.jpg") for n in range(4)]
        tellapart.gather({"cat": [urls[0], urls[1], "no link"], "dog": [urls[2]]}, tmp_path)
        dataset, receipt = tellapart.gather({"cat": [urls[0]], "dog": [urls[1], urls[2]]}, tmp_path)
        assert dict(zip(dataset.table["source_url"], dataset.labels, strict=True)) == {
            urls[0]: "cat", urls[1]: "dog", urls[2]: "dog",
        }  # fmt: skip
        assert stored(tmp_path) == sorted(dataset.paths)
        assert not receipt.lost
        assert server.hits.total() == 3
        dataset, receipt = tellapart.gather({"cat": [urls[3]]}, tmp_path)  # one more list
        assert len(dataset) == 4
        assert any("do not name them" in note for note in receipt.notes)


def test_rows_that_cannot_be_read_are_kept_aside(get, tmp_path):
    with Server({"/many/*": many(2)}) as server:
        get([server.url("/many/0.jpg")])
        file = tmp_path / "data" / "receipt.csv"
        broken = file.read_text() + "http://x/1,../up,ok,,,,,,,,," + "\n"
        file.write_text(broken)
        get([server.url("/many/1.jpg")])
    assert [path.read_text() for path in (tmp_path / "data").glob("*.bak.csv")] == [broken]
    assert "../up" not in file.read_text()


def test_a_class_folder_on_another_disk(get, small_disk, tmp_path):
    (tmp_path / "data").mkdir()
    (small_disk / "cats").mkdir()
    (tmp_path / "data" / "cat").symlink_to(small_disk / "cats")
    with Server({"/many/*": many(2)}) as server:
        rows = get([server.url(f"/many/{n}.jpg") for n in range(2)])
    assert [row.status for row in rows.values()] == ["ok"] * 2
    assert len(list((small_disk / "cats").iterdir())) == 2


def test_two_at_once_in_one_folder(get, tmp_path):
    with Server({"/slow": slow(1.0), "/*": picture()}) as server:
        thread = threading.Thread(target=get, args=([server.url("/slow")],))
        thread.start()
        while not server.hits["/slow"]:
            pass
        with pytest.raises(DatasetError, match="another gather"):
            get([server.url("/other")])
        thread.join()
    assert stored(tmp_path / "data")


def test_a_receipt_of_somebody_else_is_not_touched(get, tmp_path):
    (tmp_path / "data").mkdir()
    theirs = tmp_path / "data" / "receipt.csv"
    theirs.write_text("item,price\nbread,2\n")
    with pytest.raises(DatasetError, match="no receipt"):
        get(["http://127.0.0.1:1/"])
    assert theirs.read_text() == "item,price\nbread,2\n"


def test_wrong_use():
    for wrong in ({"conflicts": "maybe"}, {"timeout": 0}, {"retries": -1}, {"per_host": 0},
                  {"max_size": 10}, {"user_agent": "a\nb"}):  # fmt: skip
        with pytest.raises(UsageError):
            tellapart.gather({"cat": ["http://example.org/"]}, "never-made", **wrong)
    assert not Path("never-made").exists()


def test_the_receipt_draws_itself_in_a_notebook(tmp_path):
    row = ReceiptRow("http://x/<script>", "<b>cat", "failed", "HTTP 404")
    shown = tellapart.Receipt(tmp_path / "receipt.csv", (row,))._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "HTTP 404" in shown
