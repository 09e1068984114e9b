"""Pictures at URLs: on a real S3-compatible server that fails in planned ways."""

import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tellapart.data import kept_bytes, places, remote, retrying
from tellapart.data.dataset import Dataset
from tellapart.data.images import read_bytes
from tellapart.data.open_data import open_data
from tellapart.data.ordered_map import ordered_map
from tellapart.data.retrying import counting_retries
from tellapart.errors import DatasetError, ImageError, UsageError
from tellapart.ship.inputs import find_pictures
from tellapart.ship.prediction import Rule
from tellapart.ship.predictor import Predictor, content_of, name_of
from tellapart.training.train import train

SECRET = "theverysecretkey"
SIGNED = "https://127.0.0.1:9/cat.jpg?X-Amz-Credential=AKIA1&X-Amz-Signature=5ec7e7"


@pytest.fixture(scope="module")
def server(tmp_path_factory, request):
    for module in ("moto.server", "s3fs"):
        pytest.importorskip(module)
    from web.s3_server import s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server(slow_seconds=1.0) as running:
        patch.setattr(retrying, "_BACKOFF", 0.01)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIATHEKEY", "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": running.url, "AWS_DEFAULT_REGION": "us-east-1",
            "TELLAPART_READ_TIMEOUT": "0.4",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield running


@pytest.fixture
def bucket(server, tmp_path: Path, write_picture):
    """A folder, and the bucket that holds the same: (folder, URL)."""
    for label in ("cat", "dog"):
        for number in range(3):
            write_picture(tmp_path / f"own/{label}/{number} é.png")
    name = f"b{abs(hash(str(tmp_path))) % 10**9}"
    server.new_faults()
    server.put(tmp_path / "own", name)
    return tmp_path / "own", f"s3://{name}"


@pytest.mark.parametrize(
    ("faults", "counted"),
    [
        ((), {}),
        (("503",), {"slow down": 1}),
        (("500", "503", "cut"), {"server error": 1, "slow down": 1, "cut": 1}),
        (("slow",), {"timeout": 1}),
        (("cut", "cut", "cut"), {"cut": 3}),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_what_may_pass_is_tried_again_and_counted(server, bucket, faults, counted, scheme):
    folder, base = bucket
    server.new_faults(faults)
    url = f"{base}/cat/1 é.png"
    if scheme == "http":
        url = url.replace("s3:/", server.url).replace(" é", "%20%C3%A9")
    with counting_retries() as retries:
        assert read_bytes(Path("/no"), url) == (folder / "cat/1 é.png").read_bytes()
    assert retries == counted
    assert server.planted.total() == len(faults)
    assert server.asked.total() == len(faults) + 1


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (["503"] * 4, "not reachable"),
        (["cut"] * 4, "cannot be read"),
        (["500"] * 4, "not reachable"),
    ],
)
def test_what_does_not_pass_is_given_up(server, bucket, faults, reason):
    server.new_faults(faults)
    with counting_retries() as retries, pytest.raises(ImageError, match="4 tries") as caught:
        read_bytes(Path(), f"{bucket[1]}/cat/1 é.png")
    assert caught.value.reason == reason
    assert retries.total() == 3


def test_what_is_missing_or_forbidden_is_not_tried_again(server, bucket):
    with counting_retries() as retries:
        with pytest.raises(ImageError) as caught:
            read_bytes(Path(), f"{bucket[1]}/no.png")
        assert caught.value.reason == "missing"
        server.new_faults(["403"])
        with pytest.raises(ImageError, match="environment") as caught:
            read_bytes(Path(), f"{bucket[1]}/cat/1 é.png")
        assert caught.value.reason == "not allowed"
        assert SECRET not in str(caught.value)
        assert "AKIATHEKEY" not in str(caught.value)
    assert not retries
    assert set(server.asked.values()) == {1}


def test_sizes_are_bounded_and_parts_are_read(server, bucket):
    folder, base = bucket
    whole = (folder / "cat/1 é.png").read_bytes()
    for url in (f"{base}/cat/1 é.png", f"{base}/cat/1 é.png".replace("s3:/", server.url)):
        assert remote.read_url(url, start=5, length=9, most=9) == whole[5:14]
        with pytest.raises(ImageError, match="at most 100") as caught:
            remote.read_url(url, most=100)
        assert caught.value.reason == "too large"


def test_sizes_and_listings_of_a_silent_server_end(monkeypatch):
    pytest.importorskip("aiohttp")
    pytest.importorskip("fsspec")
    monkeypatch.setenv("TELLAPART_READ_TIMEOUT", "0.2")
    monkeypatch.setattr(retrying, "_TRIES", 2)
    monkeypatch.setattr(retrying, "_BACKOFF", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it is never asked to accept
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ImageError, match=r"not reachable \(timeout, in 2 tries"):
            remote.stat_url(f"{base}/cat.png")
        with pytest.raises(DatasetError, match="timeout, in 2 tries"):
            open_data(f"{base}/")


@pytest.mark.parametrize("said", ["30s", "-1", "nan", "inf"])
def test_a_read_timeout_that_is_none(said, monkeypatch, tmp_path):
    pytest.importorskip("fsspec")
    monkeypatch.setenv("TELLAPART_READ_TIMEOUT", said)
    with pytest.raises(UsageError, match=f"TELLAPART_READ_TIMEOUT is '{said}'"):
        remote.read_url(f"file://{tmp_path}/a.png", most=9)


def test_what_nobody_waits_for_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(retrying, "_BACKOFF", 30.0)
    begun = threading.Event()
    tries = []

    def read():
        tries.append(1)
        begun.set()
        raise TimeoutError

    answers = ordered_map(
        lambda n: n if n == 0 else retrying.patiently("a.png", read), range(2), workers=2, ahead=1
    )
    started = time.monotonic()
    assert next(answers) == 0
    assert begun.wait(10)
    answers.close()  # as an interrupt does
    assert time.monotonic() - started < 10
    assert len(tries) <= 2


def test_other_file_systems_and_unknown_ones(bucket):
    folder, _ = bucket
    file = folder / "dog/0 é.png"
    assert read_bytes(Path(), f"file://{file}") == file.read_bytes()
    (folder / "empty.png").touch()
    for url, reason, text in (
        (f"file://{folder}/no.png", "missing", "no such file"),
        (f"file://{folder}/empty.png", "empty", "0 bytes"),
        (f"file://{folder}", "not a file", "expected a picture"),
        ("nonsense://a/b.png", "cannot be read", "s3://"),
    ):
        with pytest.raises(ImageError, match=text) as caught:
            read_bytes(Path(), url)
        assert caught.value.reason == reason


def test_a_package_that_is_missing_is_named():
    pytest.importorskip("fsspec")
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(ImageError, match="pip install gcsfs"):
            read_bytes(Path(), "gs://bucket/cat.png")


def test_many_threads_share_one_connection_pool(server, bucket):
    folder, base = bucket
    server.new_faults(["503"])
    names = ["cat/0 é.png", "cat/1 é.png", "dog/0 é.png", "dog/1 é.png"] * 8
    with counting_retries() as retries, ThreadPoolExecutor(16) as pool:
        read = list(pool.map(lambda name: read_bytes(Path(), f"{base}/{name}"), names))
    assert read == [(folder / name).read_bytes() for name in names]
    assert retries == {"slow down": 4}


@pytest.mark.slow
def test_a_forked_process_reads_too(bucket):
    folder, base = bucket
    assert read_bytes(Path(), f"{base}/cat/1 é.png")  # the parent has connections and a loop
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tellapart.data.images import read_bytes\n"
        "def size(): return len(read_bytes(Path(), sys.argv[1]))\n"
        "size()\npid = os.fork()\n"
        "if not pid: os._exit(0 if size() == int(sys.argv[2]) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    size = (folder / "cat/1 é.png").stat().st_size
    command = [sys.executable, "-W", "ignore", "-c", code, f"{base}/cat/1 é.png", str(size)]
    assert subprocess.run(command, timeout=60).returncode == 0


# Datasets.


def test_a_folder_behind_a_url_is_what_it_is_at_hand(server, bucket):
    folder, base = bucket
    here, there = Dataset.from_folder(folder), open_data(base)
    assert [path.removeprefix(f"{base}/") for path in there.paths] == here.paths
    assert there.labels == here.labels
    assert there.hashed().table["sha256"].tolist() == here.hashed().table["sha256"].tolist()
    assert there.place == base
    assert base in repr(there)
    assert open_data(Path(f"{base}/")).paths == there.paths  # a Path folds slashes


def test_splits_behind_a_url(server, tmp_path, write_picture):
    for part in ("Training", "val", "extra"):
        write_picture(tmp_path / f"{part}/cat/1.png")
        write_picture(tmp_path / f"{part}/dog/1.png")
    (tmp_path / "val/cat/.hidden.png").touch()
    (tmp_path / "Training/notes.txt").touch()
    server.put(tmp_path, "splits")
    pictures = open_data("s3://splits")
    assert pictures.table["split"].tolist() == ["train", "train", "valid", "valid"]
    named = open_data("s3://splits", train="extra", valid="val")
    assert sorted(set(named.paths)) == [
        f"s3://splits/{part}/{label}/1.png" for part in ("extra", "val") for label in ("cat", "dog")
    ]
    for label in ("train", "dog"):  # a class may be called so
        write_picture(tmp_path / f"classes/{label}/1.png")
    server.put(tmp_path / "classes", "classes")
    assert open_data("s3://classes").classes == ("dog", "train")
    with pytest.raises(DatasetError, match="no file is found"):
        open_data("s3://splits/nothing")


def test_tables_name_urls_and_lie_behind_them(server, bucket):
    folder, base = bucket
    table = folder / "table.csv"
    table.write_text(f"url,label\ncat/1 é.png,cat\n{base}/dog/0 é.png,dog\n,dog\n")
    local = Dataset.from_csv(table)
    assert local.paths == ["cat/1 é.png", f"{base}/dog/0 é.png"]
    server.put(folder, base[5:])
    for pictures in (open_data(f"{base}/table.csv"), Dataset.from_csv(table, root=base)):
        assert pictures.paths == [f"{base}/cat/1 é.png", f"{base}/dog/0 é.png"]
        assert [f.path for f in pictures.failures] == ["table.csv line 4"]
    hashes = pictures.hashed().table["sha256"].tolist()
    assert hashes == local.hashed().table["sha256"].tolist()
    assert all(hashes)


@pytest.mark.parametrize(
    "url",
    [
        SIGNED, "https://me:hunter2@127.0.0.1:9/cat.jpg", "https://hunter2@127.0.0.1:9/cat.jpg",
        "s3://b/cat.jpg?AWSAccessKeyId=hunter2", "gs://b/cat.jpg?x=1&X-Goog-Signature=hunter2",
        "abfs://c@a.dfs/cat.jpg?%73ig=hunter2", "https://127.0.0.1:9/cat.jpg?token=hunter2#a",
        "s3://AKIA1:hun/hunter2@bucket/cat.jpg", "https://me:p#hunter2@127.0.0.1:9/cat.jpg",
        "https://me:p?hunter2@127.0.0.1:9/cat.jpg", "https://127.0.0.1:9/cat.jpg?key=hunter2",
        "https://127.0.0.1:9/cat.jpg?privateToken=hunter2",
        "https://127.0.0.1:9/cat.jpg?subscription-key=hunter2",
        "https://127.0.0.1:9/cat.jpg?w=1&hdnts=hunter2", "s3://b/cat.jpg?X-Amz-Signature=hunter2",
    ],
)  # fmt: skip
def test_urls_with_secrets_are_refused_and_not_repeated(url, tmp_path):
    stub_predictor = Predictor(Stub(), Rule(), {}, 1)
    told = []
    with pytest.raises(ImageError) as caught:
        content_of(url)
    told.append(str(caught.value))
    dataset = Dataset.from_rows(tmp_path, [(url, "cat"), ("a.jpg", "dog"), ("b.jpg", "cat")])
    assert dataset.paths == ["a.jpg", "b.jpg"]
    (failure,) = dataset.failures
    assert failure.reason == "holds a secret"
    told += [str(failure), name_of(url), stub_predictor.predict(url, name=url).path]
    for opening in (open_data, Dataset.from_csv, Dataset.from_shards, Dataset.from_parquet):
        with pytest.raises(DatasetError) as refused:
            opening(url)
        told.append(str(refused.value))
    assert not [text for text in told if "hunter2" in text or "5ec7e7" in text or "AKIA1" in text]
    assert all("cat.jpg" in text for text in told)


class Stub:
    """A model that reads nothing."""

    classes = ("cat", "dog")

    def answer(self, content, name, *, alone=False):
        raise AssertionError("it was read")


def test_urls_that_only_look_secret_are_not_refused():
    for url in (
        "https://a.org/@user/1.jpg?id=3&signed=no", "abfs://container@account/1.jpg",
        "s3://bucket/x&token=1.jpg", "s3://bucket/12:30@noon.jpg", "https://a.org:80/@user/1.jpg",
        "http://[::1]:80/@user/1.jpg", "https://a.org/1?keyword=a&sigma=2", "s3://bucket/a::b.jpg",
    ):  # fmt: skip
        assert not places.secret_refusal(url)
        assert places.shown(url) == url


def test_chains_of_file_systems_are_refused_in_words(tmp_path):
    for url in ("simplecache::https://u:hunter2@a.org/1.jpg", "zip://a::https://u:hunter2@a/x.zip"):
        for place in (url, Path(url)):
            with pytest.raises(DatasetError, match="not chained") as caught:
                open_data(place)
            assert "hunter2" not in str(caught.value)
        (failure,) = Dataset.from_rows(tmp_path, [(url, "cat")]).failures
        assert failure.reason == "holds a secret"
        assert "hunter2" not in str(failure)


def test_tables_do_not_repeat_secrets_of_rows(tmp_path):
    signed = "https://a.org/1.jpg?sig=hunter2"
    (tmp_path / "t.csv").write_text(
        "url,label,split\n" + f"{signed},cat,train\n{signed},dog,train\n{signed},cat,valid\n"
        "1.jpg?sig=hunter2,cat,train\n1.jpg?sig=hunter2,dog,train\nb.jpg,dog,train\n"
    )
    failures = Dataset.from_csv(tmp_path / "t.csv", root="https://a.org").failures
    assert [f.reason for f in failures].count("two labels") == 2
    assert not [str(f) for f in failures if "hunter2" in str(f)]


def test_only_web_addresses_have_queries(tmp_path):
    for name in ("cats?.csv", "q?/t.csv", "a#/t.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("path,label\na.jpg,cat\nb.jpg,dog\n")
        assert len(open_data(tmp_path / name)) == 2
    assert places.folder_of_url("s3://bucket/set#1/what?/t.csv") == "s3://bucket/set#1/what?"
    assert places.folder_of_url("https://a.org/t/t.csv?of=a/b#/c") == "https://a.org/t"


def test_names_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, name in (
        ("shards/*.tar", "shards"), ("shards/train-{000..015}.tar", "shards"), ("photos", "photos"),
        ("*.tar", tmp_path.name), ("a/b?/x.tar", "a"), ("s3://bucket/", "bucket"),
        ("s3://bucket/t-{0..3}.tar", "bucket"), ("https://a.org/t.csv?v=2", "t"), ("t.csv", "t"),
    ):  # fmt: skip
        assert places.place_name(place) == name
    (tmp_path / "a{b}").mkdir()
    assert places.place_name("a{b}") == "a{b}"


# What embedding needs.


def test_what_was_hashed_is_not_fetched_again(server, bucket):
    there = open_data(bucket[1])
    there.hashed()
    for path in there.paths:
        read_bytes(Path(), path, take=True)
    assert set(server.asked.values()) == {1}
    read_bytes(Path(), there.paths[0], take=True)  # it was given away
    assert sorted(server.asked.values()) == [1, 1, 1, 1, 1, 2]


def test_what_changed_is_not_given_as_it_was(tmp_path):
    pytest.importorskip("fsspec")
    (tmp_path / "a.png").write_bytes(b"before")
    url = f"file://{tmp_path}/a.png"
    Dataset.from_rows(tmp_path, [(url, "cat")]).hashed()
    (tmp_path / "a.png").write_bytes(b"after")
    assert read_bytes(Path(), url) == b"after"
    assert read_bytes(Path(), url, take=True) == b"before"  # for who compares the hash


def test_kept_bytes_are_bounded(monkeypatch):
    monkeypatch.setattr(kept_bytes, "_MOST_BYTES", 100)
    for number in range(10):
        kept_bytes.keep(str(number), b"x" * 25)
    kept_bytes.keep("large", b"x" * 26)
    assert [n for n in map(str, range(10)) if kept_bytes.take(n)] == ["6", "7", "8", "9"]
    assert kept_bytes.take("large") is None
    kept_bytes.keep("old", b"x")
    monkeypatch.setattr(kept_bytes, "_MOST_SECONDS", -1.0)
    assert kept_bytes.take("old") is None
    assert kept_bytes._size == 0


def test_shards_on_a_server_that_fails(server, bucket):
    folder, base = bucket
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for file in sorted(folder.rglob("*.png")):
            tar.add(file, arcname=f"{file.parent.name}{file.stem}.png")
            label = tarfile.TarInfo(f"{file.parent.name}{file.stem}.cls")
            label.size = 3
            tar.addfile(label, BytesIO(file.parent.name.encode()))
    server.put(folder, base[5:])
    server.new_faults(["503", "cut"])
    with counting_retries() as retries:
        pictures = open_data(f"{base}/shard.tar")
        hashes = pictures.hashed().table["sha256"].tolist()
    assert pictures.paths[0] == f"{base}/shard.tar/cat0 é.png"
    assert hashes == Dataset.from_folder(folder).hashed().table["sha256"].tolist()
    assert pictures.labels == ["cat"] * 3 + ["dog"] * 3
    assert retries == {"slow down": 1, "cut": 1}
    assert server.asked.total() <= 2 + 2 + 6


def test_inputs_of_predict(server, bucket):
    folder, base = bucket
    every = [f"{base}/{label}/{n} é.png" for label in ("cat", "dog") for n in range(3)]
    assert list(find_pictures([f"{base}/", f"{base}/dog/1 é.png"])) == [*every, every[4]]
    assert list(find_pictures([f"{base}/*/1*.png"])) == [every[1], every[4]]
    assert list(find_pictures(["s3://none/", SIGNED])) == ["s3://none/", SIGNED]
    assert content_of(every[0]) == (folder / "cat/0 é.png").read_bytes()


def test_training_from_afar_is_training_at_hand(server, tmp_path, write_picture):
    """Every object fails once, in turn by 503 and cut; the run is the same, and holds no secret."""
    for number in range(16):
        write_picture(tmp_path / f"own/{('cat', 'dog')[number % 2]}/{number:02}.png")
    server.new_faults()
    server.put(tmp_path / "own", "training")
    table = tmp_path / "afar.csv"
    rows = [f"s3://training/{p},{p[:3]}" for p in Dataset.from_folder(tmp_path / "own").paths]
    table.write_text("\n".join(["url,label", *rows, f"{SIGNED},cat"]))
    server.new_faults(["503", "cut"])
    there = train(table, tmp_path / "there")
    assert there.info["computed"] == 16
    assert server.planted == {"503": 16, "cut": 16}
    assert set(server.asked.values()) == {3}  # though each was hashed, and then decoded
    here = train(tmp_path / "own", tmp_path / "here")
    assert "32 reads were tried again: 16 slow down, 16 cut" in there.notes
    assert [failure.reason for failure in there.failures] == ["holds a secret"]
    answers = [[r[1:] for r in sorted(run.predictions())] for run in (here, there)]
    assert answers[0] == answers[1]
    for file in (tmp_path / "there").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for secret in (SECRET, "AKIATHEKEY", "5ec7e7", "AKIA1"):
            assert secret.encode() not in content, file


def test_a_run_from_a_url_says_so(server, bucket, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = train(f"{bucket[1]}/")
    assert run.folder == Path("runs") / bucket[1][5:]
    assert run.info["dataset"]["root"] == f"{bucket[1]}/"
    from tellapart.training.run_pictures import run_pictures

    again = run_pictures(run)
    assert np.array_equal(again.targets, open_data(bucket[1]).targets)
    assert len(read_bytes(again.root / again.paths[0], again.paths[0])) > 100
    assert train(f"{bucket[1]}/").folder == run.folder  # the same run


def test_without_the_extra_the_error_names_it(tmp_path):
    code = (
        "import sys; sys.modules['fsspec'] = None\nfrom tellapart.data.images import read_bytes\n"
        "from pathlib import Path\nread_bytes(Path(), 's3://bucket/cat.jpg')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'pip install "tellapart[remote]"' in done.stderr


def test_files_at_hand_need_none_of_it(tmp_path, write_picture):
    file = write_picture(tmp_path / "a.png")
    code = (
        "import sys\nfrom pathlib import Path\nfrom tellapart.data.images import read_bytes\n"
        "read_bytes(Path(sys.argv[1]))\n"
        "assert not {'fsspec', 's3fs', 'tarfile', 'tellapart.data.remote'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, os.fspath(file)], check=True, timeout=60)
