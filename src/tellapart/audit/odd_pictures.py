"""Pictures that are odd in themselves: broken, blank, blurry, dark, light, tiny, long and thin, empty.

All is told from the facts that were noted while each picture was decoded (`data/picture_facts.py`), so
nothing is opened again: arithmetic on N numbers, and on N thumbnails for `low_information`. Scores are
continuous in [0, 1], and a picture is found below 0.5; wrong_extension and exif_rotated are yes or no.

CleanVision (https://github.com/cleanlab/cleanvision) has most of these checks and gave the idea of
judging darkness by high quantiles of the brightness. What differs, so that drawings and night scenes
are no faults: `light` asks for the darkest pixels and not for most of them, `low_information` for the
area that is not of one colour and not for the histogram's entropy, `dark` for the brightest 0.1 %, and
`blurry` for the steepest edge relative to the picture's own contrast and not for the variance of a
Laplacian. What counts as blank grows with brightness, as what the eye can tell does (Weber's law).

They do not know what is meant. A painting of fog is blurry, a picture with a sharp background and a
blurred subject is not, nor is one that was blurred and then given a sharp watermark.

>>> from types import SimpleNamespace
>>> from tellapart.data.picture_facts import FACT
>>> facts = np.zeros(1, FACT)
>>> facts["width"], facts["height"], facts["lightest"] = 320, 240, 0.05
>>> (finding,) = dark(SimpleNamespace(facts=facts, paths=["cellar.jpg"]))
>>> round(finding.score, 2), finding.evidence
(0.16, 'its brightest spots reach 5 % of full brightness')
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tellapart.audit.finding import Finding
from tellapart.audit.subject import Subject

__all__ = [
    "ODD_PICTURES", "blank", "blurry", "dark", "exif_rotated", "light", "low_information", "odd_aspect",
    "tiny", "unreadable", "wrong_extension",
]  # fmt: skip

Scores = NDArray[np.float64]

DARK: Final = 0.16
"""A picture is dark where 99.9 % of its pixels are at most this bright."""

LIGHT: Final = 0.85
"""A picture is light where 99.9 % of its pixels are at least this bright."""

STEEPNESS: Final = 0.11
"""A picture is blurry where no edge rises by more of the contrast than this per 1 / 256 of its side."""

TINY: Final = (16.0, 64.0)
"""Px, the root of the area. Half of what is usual in the data counts as tiny, but within these bounds."""

LONG: Final = 4.0
"""From how many times as long as wide on a picture has an odd aspect; a square keeps a quarter of it."""

FILLED: Final = 0.02
"""Of the area that has to differ from the most usual colour."""

_LEAST_LEVELS = (1.5, 10.5)  # in a black picture, and how many more in a white one, of 255
_SAME = 6.0  # levels that count as one colour, in a picture that reaches white
_SHARP_SIDE = 128  # px; a smaller picture has no room for edges as steep as STEEPNESS asks for
_JUDGED_SIDE = 64  # px; sharp or not cannot be told below
_LEAST_CONTRAST = 8 / 255  # likewise
_ROUNDING = (
    0.5 / 255
)  # that much of an edge may be rounding; it counts where there is little contrast
_CHUNK = 1024  # thumbnails at a time

_FORMATS: Final = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp .dib",
    "TIFF": ".tif .tiff",
    "AVIF": ".avif .avifs",
    "PPM": ".ppm .pgm .pbm .pnm",
    "ICO": ".ico",
    "HEIF": ".heic .heif",
    "JPEG XL": ".jxl",
}
_NAMED = {suffix: kind for kind, suffixes in _FORMATS.items() for suffix in suffixes.split()}
_SAME_FORMAT = {"MPO": "JPEG"}  # some cameras' JPEG, with further pictures behind the first

_STORED = {
    2: "mirrored",
    3: "upside down",
    4: "upside down and mirrored",
    5: "on its side and mirrored",
    6: "on its side",
    7: "on its side and mirrored",
    8: "on its side",
}


def unreadable(subject: Subject) -> list[Finding]:
    """`unreadable`: files and rows that could not be used, each with the reason; score 0."""
    return [
        Finding(
            "unreadable",
            (failure.path,),
            0.0,
            failure.reason + (f": {failure.detail}" if failure.detail else ""),
            "remove it, or fetch it again",
            {"reason": failure.reason, "detail": failure.detail},
        )
        for failure in subject.dataset.failures
    ]


def blank(subject: Subject) -> list[Finding]:
    """`blank`: one tone from edge to edge, as far as an eye can tell."""
    facts, (scores, spread) = subject.facts, _blankness(subject.facts)

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        percent = 100 * spread[row]
        said = "not at all" if percent < 0.05 else f"by {percent:.1f} % of full brightness"
        text = f"the same tone everywhere: from its darkest to its lightest part it differs {said}"
        return text, {"contrast": float(spread[row]), "brightness": float(facts["light"][row])}

    return _findings("blank", subject, scores, evidence, "remove it")


def blurry(subject: Subject) -> list[Finding]:
    """`blurry`: no edge is steep, measured against the picture's own contrast.

    Not asked of blank, dark and nearly empty pictures, nor of those below 64 px or of hardly any
    contrast: there it cannot be told.
    """
    facts, contrast = subject.facts, _contrast(subject.facts)
    steepness = np.maximum(facts["edge"] - _ROUNDING, 0) / np.maximum(contrast, _LEAST_CONTRAST)
    limit = STEEPNESS * np.minimum(1, _side(facts) / _SHARP_SIDE)
    judged = (_side(facts) >= _JUDGED_SIDE) & (contrast >= _LEAST_CONTRAST)
    scores = np.where(judged & (_darkness(facts) >= 0.5), _score(steepness, limit), 1.0)
    rows = np.flatnonzero(scores < 0.5)
    scores[rows[_filled(facts[rows]) < 2 * FILLED]] = 1.0  # one dot has few edges, sharp or not

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        share = min(1.0, 1 / (256 * max(float(steepness[row]), 1e-3)))
        text = f"even its sharpest edges are smeared over about {100 * share:.0f} % of the picture"
        return text, {"steepness": float(steepness[row]), "edge_share": share}

    scores = _unless_blank(facts, scores)
    return _findings("blurry", subject, scores, evidence, "remove it, or fetch a sharper one")


def dark(subject: Subject) -> list[Finding]:
    """`dark`: nothing in it is bright, not even one pixel in a thousand. A lit night scene is not dark."""
    facts = subject.facts

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        lightest = float(facts["lightest"][row])
        text = f"its brightest spots reach {100 * lightest:.0f} % of full brightness"
        return text, {"lightest": lightest}

    scores = _unless_blank(facts, _darkness(facts))
    return _findings("dark", subject, scores, evidence, "remove it, or brighten it")


def light(subject: Subject) -> list[Finding]:
    """`light`: nothing in it is dark, not even one pixel in a thousand. Lines on white are not light."""
    facts = subject.facts

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        darkest = float(facts["darkest"][row])
        text = f"even its darkest spots have {100 * darkest:.0f} % of full brightness"
        return text, {"darkest": darkest}

    scores = _unless_blank(facts, _score(1 - facts["darkest"].astype(np.float64), 1 - LIGHT))
    return _findings(
        "light", subject, scores, evidence, "remove it, or fetch one with more contrast"
    )


def tiny(subject: Subject) -> list[Finding]:
    """`tiny`: less than half as large as is usual here (the median), if that is below 64 px.

    Data that are small throughout, icons or digits, are no fault; below 16 px a picture always is.
    """
    facts, sides = subject.facts, _side(subject.facts)
    if not len(sides):
        return []
    usual = float(np.median(sides))
    limit = min(max(usual / 2, TINY[0]), TINY[1])

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        width, height = int(facts["width"][row]), int(facts["height"][row])
        text = f"{width} × {height} px; half of the pictures here have {usual:,.0f} × {usual:,.0f} or more"
        return text, {"width": width, "height": height, "usual_side": usual}

    scores = _score(sides, limit)
    return _findings("tiny", subject, scores, evidence, "remove it, or fetch a larger one")


def odd_aspect(subject: Subject) -> list[Finding]:
    """`odd_aspect`: more than four times as long as wide, so that a square shows little of it."""
    facts = subject.facts
    width, height = (np.maximum(facts[name], 1).astype(np.float64) for name in ("width", "height"))
    aspect = np.maximum(width, height) / np.minimum(width, height)

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        words = "as wide as high" if width[row] > height[row] else "as high as wide"
        size = f"{width[row]:,.0f} × {height[row]:,.0f} px"
        text = f"{size}, {aspect[row]:.1f} times {words}"
        numbers = {
            "width": int(width[row]),
            "height": int(height[row]),
            "aspect": float(aspect[row]),
        }
        return text, numbers

    scores = _score(1 / aspect, 1 / LONG)
    return _findings(
        "odd_aspect", subject, scores, evidence, "crop it to what matters, or remove it"
    )


def low_information(subject: Subject) -> list[Finding]:
    """`low_information`: nearly all of it is of one colour. Judged by the thumbnail; blank ones apart."""
    share = _filled(subject.facts)

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        percent = math.floor(1000 * (1 - share[row])) / 10
        return f"{percent:.1f} % of its area is one colour", {"other_share": float(share[row])}

    scores = _unless_blank(subject.facts, _score(share, FILLED))
    return _findings(
        "low_information", subject, scores, evidence, "look at it, and crop or remove it"
    )


def wrong_extension(subject: Subject) -> list[Finding]:
    """`wrong_extension`: the name says another format than the content has.

    Names without an extension, or with one that is no picture's, say nothing.
    """
    names: list[bytes] = subject.facts["format"].tolist()
    found: dict[int, tuple[str, str, str]] = {}
    for row, (path, name) in enumerate(zip(subject.paths, names, strict=True)):
        suffix = PurePosixPath(path).suffix.lower()
        kind = _SAME_FORMAT.get(name.decode(), name.decode())
        if kind in _FORMATS and _NAMED.get(suffix, kind) != kind:
            found[row] = (suffix, kind, _FORMATS[kind].split()[0])
    scores = np.ones(len(names))
    scores[list(found)] = 0.3

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        suffix, kind, _ = found[row]
        text = f"its name ends in {suffix}, but its content is {kind}"
        return text, {"extension": suffix, "format": kind}

    def suggestion(row: int) -> str:
        return f"rename it to {found[row][2]}; it is read by its content here"

    return _findings("wrong_extension", subject, scores, evidence, suggestion)


def exif_rotated(subject: Subject) -> list[Finding]:
    """`exif_rotated`: stored turned or mirrored, with a note by which it is shown upright. No fault."""
    orientation: NDArray[np.uint8] = subject.facts["orientation"]

    def evidence(row: int) -> tuple[str, dict[str, Any]]:
        code = int(orientation[row])
        text = f"it is stored {_STORED[code]}, with a note (EXIF) that says how to turn it"
        return text, {"orientation": code}

    scores = np.where((orientation >= 2) & (orientation <= 8), 0.4, 1.0)
    suggestion = "nothing: it is shown upright here; other programs may not"
    return _findings("exif_rotated", subject, scores, evidence, suggestion)


_TABLE: Final = (
    (unreadable, "Broken files", "What cannot be read cannot be learned from."),
    (blank, "Blank pictures", "They show nothing, but their label is learned all the same."),
    (blurry, "Blurry pictures", "What tells the classes apart may be gone."),
    (dark, "Dark pictures", "People see little in them, and so does the network."),
    (light, "Washed-out pictures", "People see little in them, and so does the network."),
    (tiny, "Tiny pictures", "Enlarged they are blurry, and that may give the class away."),
    (odd_aspect, "Very long or very high pictures", "Cut to a square, most of them is lost."),
    (low_information, "Nearly empty pictures", "There is little in them to learn from."),
    (wrong_extension, "Wrong extensions", "Other programs may refuse them as broken."),
    (exif_rotated, "Turned by EXIF", "Programs that ignore EXIF show them on their side."),
)

ODD_PICTURES: Final[Mapping[str, tuple[Callable[[Subject], list[Finding]], str, str]]] = (
    MappingProxyType({find.__name__: (find, title, why) for find, title, why in _TABLE})
)
"""Name → check, its title, and why it matters, in the order in which they are shown."""


def _score(value: NDArray[np.floating], limit: float | NDArray[np.floating]) -> Scores:
    """0.5 where the value is at its limit, 1 from twice the limit on."""
    return np.clip(np.asarray(value, np.float64) / (2 * np.asarray(limit)), 0, 1)


def _findings(
    check: str,
    subject: Subject,
    scores: Scores,
    evidence: Callable[[int], tuple[str, dict[str, Any]]],
    suggestion: str | Callable[[int], str],
) -> list[Finding]:
    """Those below 0.5, the worst first."""
    rows: Sequence[int] = np.flatnonzero(scores < 0.5).tolist()
    found = []
    for row in sorted(rows, key=lambda row: float(scores[row])):
        text, details = evidence(row)
        todo = suggestion if isinstance(suggestion, str) else suggestion(row)
        found.append(Finding(check, (subject.paths[row],), float(scores[row]), text, todo, details))
    return found


def _side(facts: NDArray[np.void]) -> Scores:
    """The root of the area, px, (N,)."""
    return np.sqrt(facts["width"].astype(np.float64) * facts["height"])


def _darkness(facts: NDArray[np.void]) -> Scores:
    return _score(facts["lightest"], DARK)


def _contrast(facts: NDArray[np.void]) -> Scores:
    """Between the darkest and the lightest hundredth of the pixels, (N,)."""
    return np.asarray(facts["light"].astype(np.float64) - facts["dark"])


def _blankness(facts: NDArray[np.void]) -> tuple[Scores, Scores]:
    """Scores (N,), and the largest difference of brightness or colour that they follow from, in [0, 1]."""
    least, more = _LEAST_LEVELS
    lightest = facts["lightest"].astype(np.float64)
    limit = (least + more * lightest) / 255
    spread = lightest - facts["darkest"]
    # Equal in brightness they may still differ in colour, or by a dot that is below 0.1 % of the area.
    for row in np.flatnonzero(spread < limit):
        thumbnail = facts["thumbnail"][row].reshape(-1, 3)
        spread[row] = max(spread[row], np.ptp(thumbnail, axis=0).max() / 255)
    return _score(spread, limit), spread


def _unless_blank(facts: NDArray[np.void], scores: Scores) -> Scores:
    return np.where(_blankness(facts)[0] < 0.5, 1.0, scores)


def _filled(facts: NDArray[np.void]) -> Scores:
    """The share of the thumbnail that is of another colour than its median one, (N,).

    Every second row and column tells; only where little differs there, all of it is looked at.
    """
    share = np.empty(len(facts))
    for start in range(0, len(facts), _CHUNK):
        part = slice(start, start + _CHUNK)
        share[part] = _apart(facts["thumbnail"][part, ::2, ::2], facts["lightest"][part])
    rows = np.flatnonzero(share < 4 * FILLED)
    for start in range(0, len(rows), _CHUNK):
        part_of = rows[start : start + _CHUNK]
        share[part_of] = _apart(facts["thumbnail"][part_of], facts["lightest"][part_of])
    return share


def _apart(thumbnails: NDArray[np.uint8], lightest: NDArray[np.float32]) -> Scores:
    """The share of other colours in thumbnails (n, H, W, 3), each as bright as `lightest` (n,)."""
    pixels = np.moveaxis(thumbnails, -1, 1).reshape(len(thumbnails), 3, -1)
    middle = pixels.shape[-1] // 2
    usual = np.partition(pixels, middle, axis=-1)[..., middle, None]
    apart = (np.maximum(pixels, usual) - np.minimum(pixels, usual)).max(axis=1)
    # Of a dark picture every level counts, as in _blankness.
    return (apart > np.maximum(_SAME * lightest, 0.5)[:, None]).mean(axis=1)
