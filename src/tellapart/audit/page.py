"""An audit as one HTML page with thumbnails: no script, nothing loaded from elsewhere, all text escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tellapart.audit.checks import CHECKS
from tellapart.audit.embedded_pictures import data_url, page_environment, svg_of, thumbnails
from tellapart.audit.finding import Finding
from tellapart.data.plain_text import plain

__all__ = ["render"]

_SIDE = 168  # px, of a thumbnail
_MOST_BYTES = 40_000  # of one
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
    template = page_environment("tellapart.audit").get_template("page.html")
    sections = _sections(audit)
    wanted = {path for s in sections for f in s.shown for path in f.paths[:_MOST_PATHS]}
    labels = dict(zip(audit.dataset.paths, audit.dataset.labels, strict=True))
    page: str = template.render(
        audit=audit, sections=sections, counts=_known(audit), labels=labels, shown=plain, data_url=data_url,
        thumbnails=thumbnails(audit.dataset.root, wanted, side=_SIDE, most_bytes=_MOST_BYTES),
        most_paths=_MOST_PATHS, curve=audit.curve and svg_of(audit.curve.plot(), "curve"),
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
