"""A folder for any server of files: one page that runs an exported model in the browser, also offline.

The model is the very file, byte for byte. All that the page must know of it is read from it now and written
beside it. Nothing is built, and the page asks nobody but its own server for anything (without a copy of the
runtime: one other, for two files whose digests it knows). It does not know where the folder will lie: every
link in it is relative.
"""

import hashlib
import html
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

from tellapart.data.atomic_file import write_atomically
from tellapart.data.plain_text import plain
from tellapart.errors import UsageError
from tellapart.ship.exported import ModelFile
from tellapart.ship.page import ANSWER_SCRIPT, STYLE
from tellapart.ship.web.browser_runtime import (
    HOST,
    SCRIPT,
    VERSION,
    WASM,
    RuntimeFile,
    integrity,
    runtime_files,
)
from tellapart.ship.web.icons import COLOUR, icon_png, icon_svg
from tellapart.ship.web.wording import fact_rows, how_good, shown_name

__all__ = ["check_site", "write_site"]

_STATIC: Final = Path(__file__).with_name("static")
_OURS: Final = '<meta name="generator" content="tellapart">'
_STRANGE: Final = (
    " <b>None of these</b> means that the picture is unlike all that the model learned from: it "
    "catches what is plainly strange, not all."
)
_MODEL: Final = "model.onnx"
_MOST_CHIPS: Final = 24


def write_site(
    model: Path, folder: Path, runtime: Path | None = None, *, overwrite: bool = False
) -> Path:
    """Write the page for the exported file `model` into `folder`, which is returned.

    `runtime` is a folder of the npm package onnxruntime-web, whose two files are copied; where it is None,
    the page fetches them from `HOST` and checks their digests. A page that tellapart has written there is
    replaced; other files in the folder stay, and stop it where they are in the way, without `overwrite`.
    The model may lie in the folder already.

    Raises ModelError where `model` is no exported file, and UsageError where the folder or the runtime cannot
    be used.

    >>> write_site(Path("art.onnx"), Path("site"), Path("node_modules/onnxruntime-web"))  # doctest: +SKIP
    """
    opened = ModelFile.open(model)
    copied = {} if runtime is None else runtime_files(runtime)
    size, digest = _digest(model)
    described = _described(opened, size, digest, bool(copied))
    files = _files(described, opened.facts, copied)
    try:
        _check_place(folder, model, [*files, _MODEL], overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        if not _same_file(model, folder / _MODEL):
            _copy(model, folder / _MODEL)
        for path, content in files.items():
            write_atomically(folder / path, content)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    return folder


def check_site(folder: Path, runtime: Path | None) -> None:
    """Whether a page can be written there, before there is a model for it. Raises UsageError."""
    if runtime is not None:
        runtime_files(runtime)
    names = [path.name for path in (*_STATIC.iterdir(), ANSWER_SCRIPT, STYLE)]
    _check_place(folder, folder / _MODEL, [*names, "model.json", "manifest.webmanifest"], False)


def _described(model: ModelFile, size: int, digest: str, copied: bool) -> dict[str, Any]:
    """What the scripts of the page must know, as JSON values."""
    return {
        "classes": list(model.classes),
        "rule": vars(model.rule),
        "shorter_side": model.preprocess.shorter_side,
        "model": {"path": _MODEL, "bytes": size, "integrity": digest},
        "script": _part(SCRIPT, copied),
        "wasm": _part(WASM, copied),
    }


def _part(file: RuntimeFile, copied: bool) -> dict[str, Any]:
    path = file.path if copied else file.url
    return {"path": path, "bytes": file.bytes, "integrity": file.integrity}


def _files(
    described: dict[str, Any], facts: Mapping[str, Any], copied: Mapping[str, bytes]
) -> dict[str, bytes]:
    """All files of the page but the model, in the order of writing: what names the others comes last."""
    files = {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.is_file()}
    worker = files.pop("sw.js").decode("utf-8")
    index = files.pop("index.html").decode("utf-8")
    licence = files.pop("runtime-licence.txt")
    files |= {path.name: path.read_bytes() for path in (ANSWER_SCRIPT, STYLE)}
    files |= {"icon.svg": icon_svg().encode()}
    files |= {f"icon-{side}.png": icon_png(side) for side in (192, 512)}
    files["manifest.webmanifest"] = _manifest(shown_name(facts))
    if copied:
        files |= {**copied, "runtime/LICENSE.txt": licence}
    page = _page(index, described, facts).encode("utf-8")
    version = _version({**files, "index.html": page, "sw.js": worker.encode()}, described)
    files["model.json"] = _json({"version": version, **described}).encode("utf-8")
    kept = [{"path": path, "integrity": integrity(content)} for path, content in files.items()]
    kept += [described["model"]]
    kept += [] if copied else [described["script"], described["wasm"]]
    site = _json({"version": version, "files": kept})
    files["sw.js"] = worker.replace('"SITE"', site).encode("utf-8")
    files["index.html"] = page
    return files


def _page(template: str, described: dict[str, Any], facts: Mapping[str, Any]) -> str:
    """The one page; every text from the model is escaped."""
    chips = [f"<li><bdi>{_text(name)}</bdi></li>" for name in described["classes"][:_MOST_CHIPS]]
    more = len(described["classes"]) - len(chips)
    if more > 0:
        chips.append(f"<li>and {more:,} more</li>")
    download = sum(described[part]["bytes"] for part in ("model", "script", "wasm"))
    rows = [
        f"<dt>{_text(term)}</dt><dd>{_text(text)}</dd>" for term, text in fact_rows(facts, download)
    ]
    elsewhere = "" if described["script"]["path"] == SCRIPT.path else f" {HOST}"
    asks = "No other server is asked for anything." if not elsewhere else (
        f"ONNX Runtime Web {VERSION} itself comes from {HOST}, which learns that somebody loaded it."
    )  # fmt: skip
    return Template(template).substitute(
        name=_text(shown_name(facts)),
        kinds=f"{len(described['classes']):,}",
        classes="".join(chips),
        how_good=_text(how_good(facts)),
        strange=_STRANGE if described["rule"]["strange_from"] is not None else "",
        rows="\n".join(rows),
        asks=_text(asks),
        elsewhere=elsewhere,
        colour=COLOUR,
    )


def _manifest(name: str) -> bytes:
    png = [
        {
            "src": f"icon-{side}.png",
            "sizes": f"{side}x{side}",
            "type": "image/png",
            "purpose": purpose,
        }
        for side in (192, 512)
        for purpose in ("any", "maskable")
    ]
    svg = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}
    return _json(
        {
            "name": name,
            "short_name": name[:12],
            "description": "Tells pictures apart on this device, also offline.",
            "start_url": "./",
            "scope": "./",
            "id": "./",
            "display": "standalone",
            "background_color": "#f7f5f1",
            "theme_color": COLOUR,
            "icons": [svg, *png],
        }
    ).encode("utf-8")


def _check_place(folder: Path, model: Path, paths: list[str], overwrite: bool) -> None:
    """A file of the user's is not replaced. Raises UsageError."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the page")
    index = folder / "index.html"
    if overwrite or (index.is_file() and _OURS in index.read_text("utf-8", "replace")):
        return
    for path in ("index.html", *paths):
        if (folder / path).exists() and not _same_file(model, folder / path):
            raise UsageError(
                f"{folder / path} is there already, and no page that tellapart has written. "
                "Name an empty folder"
            )


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _digest(file: Path) -> tuple[int, str]:
    """Size and digest (as browsers write it) of a file of any size."""
    content = file.read_bytes()
    return len(content), integrity(content)


def _copy(file: Path, place: Path) -> None:
    """A copy that is there whole or not at all."""
    aside = place.with_name(f".{place.name}.partial")
    try:
        shutil.copyfile(file, aside)
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


def _version(files: Mapping[str, bytes], described: dict[str, Any]) -> str:
    """A name for exactly these contents: another model, page or script is another version."""
    every = {path: integrity(content) for path, content in files.items()}
    return hashlib.sha256(_json([every, described]).encode("utf-8")).hexdigest()[:20]


def _text(text: str) -> str:
    return html.escape(plain(text))


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
