"""Tar shards by WebDataset's convention, at hand and behind a URL."""

import importlib.util
import io
import json
import os
import tarfile
import time

import pytest

from tellapart.data import remote, tar_members
from tellapart.data.dataset import Dataset
from tellapart.data.images import read_bytes
from tellapart.data.open_data import open_data
from tellapart.data.places import braces_expanded
from tellapart.data.shards import find_shards
from tellapart.data.tar_members import tar_index
from tellapart.errors import DatasetError, ImageError, UsageError
from tellapart.ship.inputs import find_pictures
from tellapart.ship.predictor import content_of


@pytest.fixture
def picture(write_picture, tmp_path):
    """`picture(seed)`: the bytes of a small PNG."""

    def draw(seed):
        return write_picture(tmp_path / "drawn.png", seed=seed).read_bytes()

    return draw


def write_tar(path, members, format=tarfile.PAX_FORMAT):
    """Members are (name, bytes), or a TarInfo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def pairs(picture, numbers, label=lambda n: ("cat", "dog")[n % 2]):
    for n in numbers:
        yield f"set/{n:03}.png", picture(n)
        yield f"set/{n:03}.cls", label(n).encode()


def test_a_member_is_read_where_it_lies(tmp_path, picture):
    long = "d/" * 80 + "long.png"
    names = ["a.png", "./b.png", "folder/ü c.png", long, "../up.png", "/abs.png"]
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        tar = write_tar(
            tmp_path / f"x{format}.tar", [(n, picture(i)) for i, n in enumerate(names)], format
        )
        for number, name in enumerate(names):
            path = f"{tar.name}/{name.removeprefix('./')}"
            if not name.startswith((".", "/")):  # a Path folds those; as text they are found
                assert read_bytes(tmp_path / path, path) == picture(number)
            member = name.removeprefix("./")
            assert tar_members.read_member(str(tar), member, path, 1 << 20) == picture(number)
    assert content_of(tmp_path / tar.name / "a.png") == picture(0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["drawn.png", "x1.tar", "x2.tar"]


def test_what_is_wrong_with_a_member_is_told(tmp_path, picture, monkeypatch):
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    tar = write_tar(tmp_path / "x.tar", [("a.png", picture(0)), ("empty.png", b""), link])
    for name, reason in (
        ("no.png", "missing"), ("empty.png", "empty"), ("link.png", "missing"), ("", "not a file"),
    ):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            read_bytes(tmp_path / "x.tar" / name if name else tmp_path, f"x.tar/{name}")
        assert caught.value.reason == reason
    monkeypatch.setattr("tellapart.data.images.MOST_BYTES", 100)
    with pytest.raises(ImageError, match="at most 100"):
        read_bytes(tar / "a.png", "x.tar/a.png")
    (tmp_path / "file.bin").write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        read_bytes(tmp_path / "file.bin/a.png")
    assert caught.value.reason == "cannot be read"


def test_a_tar_that_changes_is_read_anew(tmp_path, picture):
    tar = write_tar(tmp_path / "x.tar", [("a.png", picture(0))])
    assert read_bytes(tar / "a.png") == picture(0)
    write_tar(tar, [("b.png", picture(1)), ("a.png", picture(2))])
    os.utime(tar, ns=(1, 1))
    assert read_bytes(tar / "a.png") == picture(2)


def test_hostile_tars_are_bounded(tmp_path, picture, monkeypatch):
    whole = write_tar(tmp_path / "x.tar", pairs(picture, range(4))).read_bytes()

    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: len(whole) // 2])
    index = tar_index(str(cut))
    assert "set/000.png" in index.members
    assert "cut or damaged" in index.fault

    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 8 << 30  # a name of 8 GiB
    long = tmp_path / "long.tar"
    long.write_bytes(name.tobuf(tarfile.GNU_FORMAT))
    os.truncate(long, 16 << 20)
    with pytest.raises(ImageError, match=r"not a tar .*header of more than"):
        tar_index(str(long))

    first = tarfile.TarInfo("a.png")
    back = tarfile.TarInfo("b.png")
    back.size = 4096
    head = bytearray(back.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (-4096).to_bytes(12, "big", signed=True)  # a size below nothing
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    loop = tmp_path / "loop.tar"
    loop.write_bytes(first.tobuf() + bytes(head) + b"\0" * 1024)
    assert len(tar_index(str(loop)).members) == 1

    for content, text in (
        (b"\x1f\x8b" + b"x" * 600, "compressed"),
        (b"", "not a tar"),
        (b"x" * 999, "not a"),
    ):
        (tmp_path / "bad.tar").write_bytes(content)
        with pytest.raises(ImageError, match=text):
            tar_index(str(tmp_path / "bad.tar"))

    monkeypatch.setattr(tar_members, "_MOST_MEMBERS", 3)
    (tmp_path / "many.tar").write_bytes(whole)
    index = tar_index(str(tmp_path / "many.tar"))
    assert len(index.members) == 3
    assert "more than 3" in index.fault


def test_no_picture_vanishes_silently(tmp_path, picture):
    """tarfile takes a damaged header, a cut one and none at all for the end."""
    whole = write_tar(tmp_path / "x.tar", pairs(picture, range(4)), tarfile.USTAR_FORMAT)
    with tarfile.open(whole) as tar:
        third = tar.getmembers()[4].offset
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[third + 3] ^= 1
    for damaged, count, text in (
        (content[:third], 2, "it ends early"),
        (content[: third + 100], 2, "it ends early"),
        (bytes(flipped), 2, "a damaged header at byte"),
        (content + content, 4, "two tars were joined"),
        (content + bytes(1 << 17), 4, ""),
    ):
        (tmp_path / "x.tar").write_bytes(damaged)
        pictures = open_data(tmp_path / "x.tar")
        assert len(pictures) == count
        assert [(f.path, f.reason) for f in pictures.failures] == [("x.tar", "damaged")] * bool(
            text
        )
        assert not text or text in pictures.failures[0].detail


def header(name, size, kind):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_headers_do_not_cost_the_process(tmp_path):
    good = header("a.jpg", 3, tarfile.REGTYPE) + b"abc".ljust(512, b"\0")
    end = bytes(1024)
    nested = (
        header("././@LongLink", 2, tarfile.GNUTYPE_LONGNAME) + b"x\0".ljust(512, b"\0")
    ) * 2000
    (tmp_path / "nested.tar").write_bytes(good + nested + good + end)
    assert "headers within headers" in tar_index(str(tmp_path / "nested.tar")).fault

    digits = b"1" * (200 << 10)  # tarfile's search for a charset would take half a minute
    many = header("pax", len(digits), tarfile.XHDTYPE) + digits
    (tmp_path / "digits.tar").write_bytes(good + many + good + end)
    started = time.monotonic()
    assert "many digits" in tar_index(str(tmp_path / "digits.tar")).fault
    assert time.monotonic() - started < 5

    written = []
    for number in range(600):  # which all that follows would be given, and each would copy
        records = b"".join(b"%d k%05d=v\n" % (12, 50 * number + n) for n in range(50))
        padded = records.ljust(-(-len(records) // 512) * 512, b"\0")
        written.append(header("pax", len(records), tarfile.XGLTYPE) + padded)
        written.append(header(f"{number}.jpg", 3, tarfile.REGTYPE) + b"abc".ljust(512, b"\0"))
    (tmp_path / "global.tar").write_bytes(b"".join(written) + end)
    index = tar_index(str(tmp_path / "global.tar"))
    assert (len(index.members), index.fault) == (600, "")


def test_hard_links_are_what_they_lead_to(tmp_path, picture):
    def link(name, to):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.LNKTYPE, to
        return info

    tar = write_tar(tmp_path / "x.tar", [
        ("1.png", picture(1)), ("1.cls", b"cat"), ("2.png", picture(2)), link("2.cls", "1.cls"),
        link("3.png", "./1.png"), ("3.cls", b"dog"), link("4.png", "none.png"),
    ])  # fmt: skip
    places = [tar]
    if importlib.util.find_spec("fsspec"):
        places.append(f"file://{tar}")
    for place in places:
        pictures = open_data(place)
        assert pictures.labels == ["cat", "cat", "dog"]
        hashes = pictures.hashed().table["sha256"]
        assert hashes[0] == hashes[2] != hashes[1]


def test_indices_are_kept_by_their_members(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(tar_members, "_MOST_KEPT", 300)
    read = []
    read_index = tar_members._read_index
    monkeypatch.setattr(
        tar_members, "_read_index", lambda tar, *rest: read.append(tar) or read_index(tar, *rest)
    )
    tars = [str(write_tar(tmp_path / f"{n}.tar", pairs(picture, range(2)))) for n in range(4)]
    for tar in (*tars[:3], *tars[:3], tars[3], tars[1], tars[0]):
        tar_index(tar)
    assert [tars.index(tar) for tar in read] == [0, 1, 2, 3, 0]


def test_labels_splits_and_failures(tmp_path, picture):
    write_tar(tmp_path / "own/train-000.tar", [
        *pairs(picture, range(3)),
        ("k.v1.jpg", picture(9)), ("k.json", json.dumps({"label": 7, "x": None}).encode()),
        ("t.PNG", picture(10)), ("t.txt", "dog\n".encode("utf-8-sig")), ("t.json", b"{}"),
        ("alone.png", picture(11)), ("odd.png", picture(12)), ("odd.json", b'{"label": true}'),
        ("bad.png", picture(13)), ("bad.cls", b"\xff\xfe"), ("lonely.cls", b"1"), ("._t.png", b"x"),
        ("set/000.png", picture(14)),
    ])  # fmt: skip
    write_tar(tmp_path / "own/val-000.tar", pairs(picture, range(3, 6)))
    (tmp_path / "own/val-001.tar").write_bytes(b"rubbish" * 100)
    pictures = open_data(tmp_path / "own")
    assert pictures.root == tmp_path / "own"
    assert list(zip(pictures.paths, pictures.labels, pictures.table["split"], strict=True)) == [
        ("train-000.tar/k.v1.jpg", "7", "train"),
        ("train-000.tar/set/000.png", "cat", "train"),
        ("train-000.tar/set/001.png", "dog", "train"),
        ("train-000.tar/set/002.png", "cat", "train"),
        ("train-000.tar/t.PNG", "dog", "train"),
        ("val-000.tar/set/003.png", "dog", "valid"),
        ("val-000.tar/set/004.png", "cat", "valid"),
        ("val-000.tar/set/005.png", "dog", "valid"),
    ]
    assert sorted((f.path, f.reason) for f in pictures.failures) == [
        ("train-000.tar/alone.png", "no label"),
        ("train-000.tar/bad.png", "no label"),
        ("train-000.tar/odd.png", "no label"),
        ("train-000.tar/set/000.png", "odd row"),
        ("val-001.tar", "not a tar"),
    ]
    assert any("1 labels in shards" in note for note in pictures.notes)
    assert all(pictures.hashed().table["sha256"])


def test_patterns_and_folders(tmp_path, picture):
    for part in ("train", "valid"):
        for number in range(3):
            numbers = range(number * 2, number * 2 + 2)
            write_tar(tmp_path / f"{part}/{number:06}.tar", pairs(picture, numbers))
    every = Dataset.from_shards(tmp_path)
    assert sorted(set(every.table["split"])) == ["train", "valid"]
    assert len(every) == 12
    some = open_data(f"{tmp_path}/train/{{000000..000001}}.tar")
    assert len(some) == 4
    assert open_data(f"{tmp_path}/*/00000[12].tar").paths[0] == "train/000001.tar/set/002.png"
    assert open_data(tmp_path / "train/000000.tar").paths == [
        "000000.tar/set/000.png", "000000.tar/set/001.png",
    ]  # fmt: skip
    with pytest.raises(DatasetError, match=r"no \.tar"):
        Dataset.from_shards(f"{tmp_path}/no*.tar")
    with pytest.raises(DatasetError, match="no picture with a label"):
        open_data(f"{tmp_path}/gone.tar")
    mixed = tmp_path / "mixed"
    write_tar(mixed / "a.tar", pairs(picture, range(2)))
    (mixed / "cat").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        open_data(mixed)
    loose = tmp_path / "loose"
    write_tar(loose / "a.tar", pairs(picture, range(2)))
    (loose / "a.json").write_text("{}")
    assert len(open_data(loose)) == 2
    (loose / "1.png").write_bytes(picture(1))
    with pytest.raises(DatasetError, match="no class folders"):
        open_data(loose)


def test_a_name_alone_divides_nothing(tmp_path, picture):
    for number in range(2):
        write_tar(tmp_path / f"train-{number:03}.tar", pairs(picture, range(4)))
    pictures = open_data(f"{tmp_path}/train-{{000..001}}.tar")
    assert set(pictures.table["split"]) == {""}
    assert not pictures.notes
    divided = pictures.with_split(0.25)
    assert set(divided.table["split"]) == {"train", "valid"}


def test_braces():
    assert braces_expanded("a{1,2}-{08..10}.tar") == [
        f"a{a}-{b}.tar" for a in "12" for b in ("08", "09", "10")
    ]
    assert braces_expanded("{3..1}{x}") == ["3{x}", "2{x}", "1{x}"]
    with pytest.raises(UsageError, match="more than"):
        braces_expanded("{0..99999999}")
    with pytest.raises(UsageError, match="more than"):
        braces_expanded("{0..9999}{0..9999}")


def test_inputs_of_predict(tmp_path, picture):
    tar = write_tar(tmp_path / "x.tar", [*pairs(picture, range(2)), (".hidden.png", b"x")])
    assert list(find_pictures([str(tar)])) == [f"{tar}/set/000.png", f"{tar}/set/001.png"]
    assert content_of(f"{tar}/set/001.png") == picture(1)
    (tmp_path / "bad.tar").write_bytes(b"")
    for path in ("bad.tar", "none.tar"):
        assert list(find_pictures([f"{tmp_path}/{path}"])) == [f"{tmp_path}/{path}"]


# Behind a URL.


@pytest.fixture
def asked(monkeypatch):
    """What is read from URLs: (place, number) of each request."""
    requests = []
    read = remote._by_size

    def noted(files, url, name, start, length, most):
        requests.append((start, length))
        return read(files, url, name, start, length, most)

    monkeypatch.setattr(remote, "_by_size", noted)
    return requests


def test_shards_behind_a_url(tmp_path, picture, asked, monkeypatch):
    pytest.importorskip("fsspec")
    stated = []
    stat_url = tar_members.stat_url
    monkeypatch.setattr(tar_members, "stat_url", lambda url: stated.append(url) or stat_url(url))
    for name in ("train-000", "test-000"):
        write_tar(tmp_path / f"far/{name}.tar", pairs(picture, range(40)))
    there = open_data(f"file://{tmp_path}/far")
    assert there.paths[0] == f"file://{tmp_path}/far/test-000.tar/set/000.png"
    here = open_data(tmp_path / "far")
    for column in ("label", "split"):
        assert there.table[column].tolist() == here.table[column].tolist()
    assert len(asked) <= 4, "headers and labels are read in blocks"
    assert there.hashed().table["sha256"].tolist() == here.hashed().table["sha256"].tolist()
    assert len(asked) <= 4 + 80, "one request a picture"
    assert there.place == f"file://{tmp_path}/far"
    assert len(stated) == 2, "and none to see whether the shard has changed"
    tar = f"file://{tmp_path}/far/train-000.tar"
    assert find_shards(f"file://{tmp_path}/far/train-{{000..000}}.tar") == [tar]
    assert find_shards(f"file://{tmp_path}/far/tr*.tar") == [tar]
    assert list(find_pictures([tar]))[:2] == [f"{tar}/set/000.png", f"{tar}/set/001.png"]
    assert content_of(f"{tar}/set/001.png") == picture(1)


def test_large_members_are_passed_over(tmp_path, asked):
    pytest.importorskip("fsspec")
    members = [(f"{n}.png", bytes(3 << 20)) for n in range(6)]
    tar = write_tar(tmp_path / "large.tar", members)
    assert len(tar_index(f"file://{tar}").members) == 6
    assert sum(length for _, length in asked) < 2 << 20


def test_a_tar_behind_a_url_that_changes_is_read_anew(tmp_path, picture, monkeypatch):
    pytest.importorskip("fsspec")
    now = [1000.0]
    monkeypatch.setattr(tar_members.time, "monotonic", lambda: now[0])
    tar = write_tar(tmp_path / "x.tar", [("a.png", picture(0)), ("b.png", picture(1))])
    name = f"file://{tar}/a.png"
    assert read_bytes(tmp_path, name) == picture(0)
    write_tar(tar, [("b.png", picture(1)), ("a.png", picture(2))])
    os.utime(tar, ns=(1, 1))
    now[0] += 11
    assert read_bytes(tmp_path, name) == picture(2)

    stat_url = tar_members.stat_url
    monkeypatch.setattr(  # a server that tells sizes alone
        tar_members, "stat_url", lambda url: remote.Stated(stat_url(url).size, "")
    )
    now[0] += 11
    assert read_bytes(tmp_path, name) == picture(2)
    size = tar.stat().st_size
    write_tar(tar, [("a.png", picture(3)), ("b.png", picture(1))])
    assert tar.stat().st_size == size
    now[0] += 11
    assert read_bytes(tmp_path, name) == picture(3)


def test_a_folder_behind_a_url_may_be_called_a_tar(tmp_path, picture):
    pytest.importorskip("fsspec")
    for label in ("cat", "dog"):
        (tmp_path / f"x.tar/{label}").mkdir(parents=True)
        (tmp_path / f"x.tar/{label}/1.png").write_bytes(picture(len(label) + ord(label[0])))
    pictures = open_data(f"file://{tmp_path}/x.tar/")
    assert pictures.labels == ["cat", "dog"]
    assert all(pictures.hashed().table["sha256"])
    with pytest.raises(DatasetError, match="end it with /"):
        open_data(f"file://{tmp_path}/x.tar")
    with pytest.raises(ImageError, match="no such file"):
        read_bytes(tmp_path, f"file://{tmp_path}/x.tar/cat/2.png")
