"""The folder with the page: what is in it, what it says of itself, and what it never touches."""

import json
import os
import re
from io import BytesIO
from pathlib import Path

import html5lib
import pytest
from made_export import made_export
from PIL import Image

from tellapart.errors import ModelError, UsageError
from tellapart.ship.web.browser_runtime import HOST, SCRIPT, VERSION, WASM, integrity
from tellapart.ship.web.site import write_site
from tellapart.ship.web.wording import fact_rows, how_good, shown_name

HOSTILE = "<img src=x onerror=alert(1)>"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'{}; "
    "style-src 'self'; img-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("web-site") / "some model.onnx", strange_from=0.9)


@pytest.fixture(scope="module")
def site(model):
    return write_site(model, model.parent / "site")


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def kept(folder):
    """What the service worker keeps: paths and digests."""
    worker = (folder / "sw.js").read_text("utf-8")
    said = json.loads(re.search(r"const SITE = (.*);", worker)[1])
    return said["version"], {file["path"]: file["integrity"] for file in said["files"]}


def page_of(folder):
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse((folder / "index.html").read_text("utf-8"))


def test_the_model_is_the_very_file(model, site):
    assert (site / "model.onnx").read_bytes() == model.read_bytes()
    said = json.loads((site / "model.json").read_text("utf-8"))
    assert said["model"]["integrity"] == integrity(model.read_bytes())
    assert said["model"]["bytes"] == model.stat().st_size
    assert said["classes"] == ["red", "green", "blue"]
    assert said["rule"]["strange_from"] == 0.9
    assert said["shorter_side"] == 73


def test_all_that_is_kept_is_named_with_its_digest(site):
    version, files = kept(site)
    written = contents(site)
    assert set(files) == {*written, SCRIPT.url, WASM.url} - {"sw.js", "index.html"}
    for path, digest in files.items():
        if not path.startswith("https:"):
            assert digest == integrity(written[path]), path
    assert json.loads(written["model.json"])["version"] == version


def test_the_same_model_gives_the_same_folder_and_another_gives_another_version(
    model, site, tmp_path
):
    assert contents(write_site(model, tmp_path / "again")) == contents(site)
    versions = {kept(site)[0]}
    for i, options in enumerate(({"seed": 1}, {"name": "other"}, {"classes": ("a", "b", "c")})):
        other = made_export(tmp_path / f"{i}.onnx", strange_from=0.9, **options)
        versions.add(kept(write_site(other, tmp_path / f"site{i}"))[0])
    assert len(versions) == 4


def test_every_link_is_relative_and_there(site):
    page = page_of(site)
    links = [e.get("href") or e.get("src") for e in page.iter() if e.tag in ("link", "script")]
    assert len(links) >= 6
    for link in links:
        assert re.fullmatch(r"[\w-]+\.\w+", link), link
        assert (site / link).is_file(), link
    for script in site.glob("*.js"):
        for name in re.findall(r'from "(\./[^"]*)"', script.read_text("utf-8")):
            assert (site / name).is_file(), f"{script.name}: {name}"
    manifest = json.loads((site / "manifest.webmanifest").read_text("utf-8"))
    assert manifest["start_url"] == manifest["scope"] == "./"
    for icon in manifest["icons"]:
        assert (site / icon["src"]).is_file()


def test_nothing_points_elsewhere(site):
    for name, content in contents(site).items():
        if name.endswith((".js", ".css", ".html", ".webmanifest", ".json", ".svg")):
            found = set(re.findall(r"https?://[\w./@-]+", content.decode("utf-8")))
            allowed = {HOST, SCRIPT.url, WASM.url, "http://www.w3.org/2000/svg"}
            assert found <= allowed, name


def test_icons_have_the_size_that_the_manifest_says(site):
    manifest = json.loads((site / "manifest.webmanifest").read_text("utf-8"))
    sizes = set()
    for icon in manifest["icons"]:
        if icon["src"].endswith(".png"):
            image = Image.open(BytesIO((site / icon["src"]).read_bytes()))
            assert f"{image.width}x{image.height}" == icon["sizes"]
            assert len(image.getcolors(1 << 16)) > 2  # it is drawn, not blank
            sizes.add((icon["sizes"], icon["purpose"]))
    assert sizes == {(s, p) for s in ("192x192", "512x512") for p in ("any", "maskable")}


def test_the_policy_and_nothing_inline(site, model, tmp_path):
    page = page_of(site)
    (policy,) = (e.get("content") for e in page.iter("meta") if e.get("http-equiv"))
    assert policy == POLICY.format(f" {HOST}")
    assert not list(page.iter("style"))
    for element in page.iter():
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
        assert element.tag != "script" or (element.get("src") and not element.text)


def test_text_from_the_model_is_escaped(tmp_path):
    model = made_export(
        tmp_path / "m.onnx", (HOSTILE, "b\x1b[31m", "</script>"), name=HOSTILE,
        backbone={"name": HOSTILE, "licence": HOSTILE, "source": "$name & ${rows}"},
    )  # fmt: skip
    site = write_site(model, tmp_path / "site")
    page = page_of(site)
    assert not [e for e in page.iter("img") if e.get("src") == "x"]
    assert len(list(page.iter("script"))) == 1
    chips = ["".join(e.itertext()) for e in page.iter("li")]
    assert chips == [HOSTILE, "b\\x1b[31m", "</script>"]
    assert "$name & ${rows}" in "".join(page.itertext())
    assert json.loads((site / "manifest.webmanifest").read_text("utf-8"))["name"] == HOSTILE


def test_many_classes_are_not_all_listed(tmp_path):
    model = made_export(tmp_path / "m.onnx", tuple(f"class {i}" for i in range(60)))
    chips = [
        "".join(e.itertext()) for e in page_of(write_site(model, tmp_path / "site")).iter("li")
    ]
    assert chips[-1] == "and 36 more"
    assert len(chips) == 25


def test_how_good_it_is_says_the_most_honest_split():
    def measured(n, errors):
        return {"n": n, "errors": errors, "accuracy_low": 0.91, "accuracy_high": 0.97}

    every = {
        "out_of_fold": measured(1000, 40),
        "valid": measured(100, 4),
        "test": measured(2000, 10),
    }
    assert how_good({"metrics": every}).startswith(
        "Right for 1,990 of 2,000 held-out pictures (the test split): 99.5 %, 95 % interval 91.0–97.0 %."
    )
    del every["test"]
    assert "96 of 100 held-out pictures (the validation split)" in how_good({"metrics": every})
    del every["valid"]
    assert "960 of 1,000 training pictures" in how_good({"metrics": every})
    for nothing in ({}, {"metrics": None}, {"metrics": {"valid": {"n": 0, "errors": 0}}}):
        assert how_good(nothing) == "How good it is was not measured."


def test_rows_leave_out_what_is_not_known():
    assert [term for term, _ in fact_rows({}, 30_000_000)] == ["Run by", "Loaded once"]
    counts = {"train": {"a": 700, "b": 400}, "valid": {"a": 1, "b": 1}}
    rows = dict(fact_rows({"dataset": {"counts": counts}, "precision": "int8"}, 30_400_000))
    assert rows["Pictures"] == "learned from 1,100"
    assert rows["Numbers"] == "8 bits"
    assert rows["Loaded once"] == "30 MB"
    assert shown_name({}) == shown_name({"name": " "}) == "Pictures told apart"


def test_files_of_the_user_are_not_touched(model, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "index.html").write_text("<h1>mine</h1>")
    (folder / "notes.txt").write_text("mine too")
    before = contents(folder)
    with pytest.raises(UsageError, match=r"index\.html is there already"):
        write_site(model, folder)
    assert contents(folder) == before
    (folder / "index.html").unlink()
    (folder / "model.onnx").write_bytes(b"another model")
    with pytest.raises(UsageError, match=r"model\.onnx is there already"):
        write_site(model, folder)
    write_site(model, folder, overwrite=True)
    assert (folder / "model.onnx").read_bytes() == model.read_bytes()
    assert (folder / "notes.txt").read_text() == "mine too"


def test_a_page_of_ours_is_replaced_and_what_lies_beside_it_stays(model, tmp_path):
    folder = write_site(model, tmp_path / "site")
    (folder / "CNAME").write_text("pictures.example")
    newer = made_export(tmp_path / "new.onnx", ("a", "b", "c"))
    write_site(newer, folder)
    assert (folder / "CNAME").read_text() == "pictures.example"
    assert (folder / "model.onnx").read_bytes() == newer.read_bytes()
    assert json.loads((folder / "model.json").read_text())["classes"] == ["a", "b", "c"]


def test_the_model_may_lie_in_the_folder_already(tmp_path):
    folder = tmp_path / "site"
    model = made_export(folder / "model.onnx")
    (folder / "model.md").write_text("its card")
    before = model.read_bytes()
    assert write_site(model, folder) == folder
    assert model.read_bytes() == before
    assert (folder / "index.html").is_file()
    assert write_site(model, folder) == folder


def test_what_is_no_exported_model_is_refused_before_anything_is_written(model, tmp_path):
    bad = tmp_path / "bad.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    for file in (bad, tmp_path / "missing.onnx"):
        with pytest.raises(ModelError):
            write_site(file, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_place_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        write_site(model, tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be written"):
        write_site(model, tmp_path / "file" / "below")


def test_another_runtime_is_refused(model, tmp_path):
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"npm install onnxruntime-web@{VERSION}"):
        write_site(model, tmp_path / "site", folder)
    (folder / "dist" / SCRIPT.name).write_bytes(b"x")
    with pytest.raises(UsageError, match=f"is not that of onnxruntime-web {VERSION}: 1 bytes"):
        write_site(model, tmp_path / "site", folder)
    assert not (tmp_path / "site").exists()


def test_the_runtime_is_copied_from_the_package_or_its_dist(model, tmp_path):
    named = os.environ.get("TELLAPART_ORT_WEB")
    npm = (
        Path(named)
        if named
        else Path(__file__).parents[2] / ".venv/node/node_modules/onnxruntime-web"
    )
    if not npm.is_dir():
        pytest.skip("needs onnxruntime-web from npm: make browser, or TELLAPART_ORT_WEB=FOLDER")
    site = write_site(model, tmp_path / "site", npm)
    again = write_site(model, tmp_path / "again", npm / "dist")
    assert contents(site) == contents(again)
    for file in (SCRIPT, WASM):
        content = (site / file.path).read_bytes()
        assert len(content) == file.bytes
        assert integrity(content) == file.integrity
        assert kept(site)[1][file.path] == file.integrity
    (policy,) = (e.get("content") for e in page_of(site).iter("meta") if e.get("http-equiv"))
    assert policy == POLICY.format("")
    assert HOST not in (site / "index.html").read_text("utf-8")
    assert "Permission is hereby granted" in (site / "runtime/LICENSE.txt").read_text("utf-8")
    assert json.loads((npm / "package.json").read_text())["version"] == VERSION
