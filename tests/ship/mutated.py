"""Pictures and forms that are spoilt in every way that comes to mind, the same for the same seed."""

import random

from serving import COLOURS, form, picture

__all__ = ["mutated_requests"]

_KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF")
_ODD = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"--",
    b"\r\n--",
    b"\r\n--a-boundary",
    b"\xff\xd8\xff",
    b'"',
    b";",
    b"=",
)
_TYPES = (
    "image/jpeg", "image/png", "application/octet-stream", "", "image/\xff", "IMAGE/JPEG;q=1", "image/",
    "text/html", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"",
    "multipart/form-data; boundary=a b", "multipart/mixed; boundary=a-boundary", "application/json",
)  # fmt: skip


def mutated_requests(count, seed=0):
    """(content type, body) of so many requests; half of them are forms."""
    rng = random.Random(seed)
    originals = [_original(colour, kind) for colour in COLOURS for kind in _KINDS]
    for number in range(count):
        content = _spoilt(rng, rng.choice(originals))
        if number % 2:
            kind = rng.choice(_TYPES[:4]) if rng.random() < 0.8 else rng.choice(_TYPES)
            yield kind, content
        else:
            yield _form(rng, originals, content)


def _original(colour, kind):
    return picture(colour, kind, size=(40, 30))


def _form(rng, originals, content):
    parts = [(_name(rng), content)]
    for _ in range(rng.choice((0, 0, 1, 3, 40))):
        part = rng.choice(originals)
        parts.append((_name(rng), part if rng.random() < 0.5 else _spoilt(rng, part)))
    rng.shuffle(parts)
    kind, body = form(*parts, boundary=rng.choice(("a-boundary", "b", "x" * 70)))
    if rng.random() < 0.7:
        body = _spoilt(rng, body, near=rng.choice((60, 200, len(body))))
    if rng.random() < 0.2:
        kind = rng.choice(_TYPES)
    return kind, body


def _name(rng):
    long = "x" * rng.choice((10, 3000, 9000))
    return rng.choice(("a.jpg", "", "☃.png", "a\\b", long, "a;b=c", "\x01", "../..", "%00"))


def _spoilt(rng, content, near=None):
    """One to six changes; where `near` is given within so many bytes of the beginning or the end."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        size = len(content)
        at = rng.randrange(size + 1)
        if near is not None and rng.random() < 0.7:
            at = min(at % near, size) if rng.random() < 0.7 else max(0, size - at % near)
        _CHANGES[rng.randrange(len(_CHANGES))](rng, content, at)
    return bytes(content)


def _flip(rng, content, at):
    if at < len(content):
        content[at] ^= 1 << rng.randrange(8)


def _set(rng, content, at):
    if at < len(content):
        content[at] = rng.choice((0, 1, 127, 128, 254, 255))


def _number(rng, content, at):
    """A length or a size becomes an odd one."""
    value = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
    content[at : at + 4] = value.to_bytes(4, rng.choice(("big", "little")))


def _cut(rng, content, at):
    del content[at:]


def _drop(rng, content, at):
    del content[at : at + rng.choice((1, 2, 16, 200))]


def _insert(rng, content, at):
    content[at:at] = rng.choice(_ODD) * rng.choice((1, 1, 3, 500))


def _noise(rng, content, at):
    content[at : at + 16] = rng.randbytes(rng.choice((1, 16, 64)))


def _double(rng, content, at):
    size = rng.choice((8, 64, 1024))
    content[at:at] = content[at : at + size]


_CHANGES = (_flip, _flip, _set, _set, _number, _cut, _drop, _insert, _noise, _double)
