"""An audit as one HTML page with thumbnails: no script, nothing loaded from elsewhere, all text escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from tellapart.audit.checks import CHECKS
from tellapart.audit.finding import Finding
from tellapart.data.images import decode, read_bytes
from tellapart.data.ordered_map import ordered_map
from tellapart.data.plain_text import plain
from tellapart.errors import ImageError, MissingExtra

__all__ = ["render"]

_SIDE = 168  # px, of a thumbnail
_MOST_SHOWN = 24  # findings of a check
_MOST_PATHS = 3  # pictures of a finding


@dataclass(frozen=True)
class _Section:
    """The findings of one check, with what they mean."""

    name: str
    title: str
    why: str
    count: int
    shown: Sequence[Finding]


def render(audit: Any) -> str:
    """The page of an `Audit`. Pictures that cannot be read any more are left out, not their findings."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error) or error from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("tellapart.audit").joinpath("page.html").read_text("utf-8")
    )
    sections = _sections(audit)
    labels = dict(zip(audit.dataset.paths, audit.dataset.labels, strict=True))
    page: str = template.render(
        audit=audit, sections=sections, counts=_known(audit), labels=labels, shown=plain, data_url=_data_url,
        thumbnails=_thumbnails(audit.dataset.root, sections), most_paths=_MOST_PATHS,
        curve=audit.curve and _svg_of_curve(audit),
    )  # fmt: skip
    return page


def _known(audit: Any) -> list[tuple[str, str, int]]:
    return [
        (name, CHECKS[name].title if name in CHECKS else name, n)
        for name, n in audit.counts().items()
    ]


def _sections(audit: Any) -> list[_Section]:
    return [
        _Section(name, title, CHECKS[name].why if name in CHECKS else "", n, audit.of(name)[:_MOST_SHOWN])
        for name, title, n in _known(audit)
        if n
    ]  # fmt: skip


def _data_url(raw: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode('ascii')}"


def _thumbnails(root: Path, sections: Sequence[_Section]) -> dict[str, str]:
    """A data URL for each picture that is shown."""
    wanted = {path for s in sections for f in s.shown for path in f.paths[:_MOST_PATHS]}

    def thumbnail(path: str) -> str:
        try:
            image = decode(read_bytes(root / path, path), path, shorter_side=_SIDE)
        except ImageError:
            return ""
        image.thumbnail((_SIDE, _SIDE))
        raw = BytesIO()
        image.save(raw, "JPEG", quality=80)
        return _data_url(raw.getvalue(), "jpeg")

    every = sorted(wanted)
    return dict(zip(every, ordered_map(thumbnail, every, workers=2), strict=True))


def _svg_of_curve(audit: Any) -> str:
    """The learning curve as SVG text, to stand in the page."""
    from markupsafe import Markup

    assert audit.curve is not None
    figure = audit.curve.plot()
    raw = BytesIO()
    figure.savefig(raw, format="svg", transparent=True)
    text = raw.getvalue().decode("utf-8")
    return Markup(text[text.index("<svg") :])  # noqa: S704  # drawn here, from numbers alone
