"""Pictures for the test server: many different ones without encoding at request time, and bombs.

A JPEG with a restart marker after each row of blocks falls into strips that decode by themselves.
Picture N is put together from the strips of a few encoded pictures, chosen by a hash of N: other
bytes, other pixels and another look for each N, at the price of joining bytes.
"""

import hashlib
import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 320, 240
BASES = 16
STRIP = 16  # rows of pixels in a row of blocks, as colours are halved both ways


def sample(number: int = 0) -> bytes:
    """A valid JPEG of 320×240 pixels and 10 to 25 kB, another one for each number."""
    head, strips = _strips()
    count = HEIGHT // STRIP
    chosen = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=count).digest()
    parts = [head[:2], b"\xff\xfe\x00\x0a", number.to_bytes(8, "big"), head[2:]]
    for row in range(count):
        parts.append(strips[chosen[row] % BASES][row])
        parts.append(bytes((0xFF, 0xD0 + row % 8)) if row < count - 1 else b"\xff\xd9")
    return b"".join(parts)


@cache
def _strips() -> tuple[bytes, list[list[bytes]]]:
    """The head that all share, and the entropy-coded strips of each base."""
    heads, strips = set(), []
    for seed in range(BASES):
        head, body = _split_at_scan(_encode(_noise(seed)))
        heads.add(head)
        strips.append(_split_at_restarts(body))
    assert len(heads) == 1
    return heads.pop(), strips


def _noise(seed: int) -> Image.Image:
    """Noise with more power in low frequencies, as photographs have it."""
    generator = np.random.default_rng(seed)
    total = np.zeros((HEIGHT, WIDTH, 3))
    for cells, strength in ((2, 70), (5, 45), (12, 30), (30, 18), (80, 9), (240, 4)):
        small = generator.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(small[:, :, channel])
            total[:, :, channel] += strength * np.asarray(
                layer.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            )
    total += generator.uniform(70, 185, 3)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _encode(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88, subsampling="4:2:0", restart_marker_rows=1)
    return file.getvalue()


def _split_at_scan(jpeg: bytes) -> tuple[bytes, bytes]:
    start = jpeg.index(b"\xff\xda")
    start += 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big")
    return jpeg[:start], jpeg[start:-2]


def _split_at_restarts(body: bytes) -> list[bytes]:
    """Within entropy-coded data FF is followed by 00, so that FF D0 … FF D7 are markers alone."""
    parts, rest = [], body
    for row in range(HEIGHT // STRIP - 1):
        part, mark, rest = rest.partition(bytes((0xFF, 0xD0 + row % 8)))
        assert mark
        parts.append(part)
    return [*parts, rest]


def jpeg_head() -> bytes:
    """How a valid JPEG begins, up to its pixels."""
    return _strips()[0]


@cache
def png_bomb(side: int = 50_000) -> bytes:
    """A PNG of a few kB that says it has side × side pixels; its data are zeros, and end early."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(4_000_000), 9)[:-8]
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    length, check = len(content), zlib.crc32(name + content)
    return struct.pack(">I", length) + name + content + struct.pack(">I", check)


@cache
def gzip_of_zeros(megabytes: int) -> bytes:
    """A valid gzip file of a JPEG's head and then zeros; about 1 kB for each megabyte.

    After a full flush, deflated data depend on nothing before them: one deflated megabyte, many
    times over, is a valid stream, and none of it needs deflating again.
    """
    zeros, head = bytes(1 << 20), jpeg_head()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    middle = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    check = zlib.crc32(head)
    for _ in range(megabytes):
        check = zlib.crc32(zeros, check)
    size = (len(head) + megabytes * len(zeros)) & 0xFFFFFFFF
    gzip_head = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    return gzip_head + start + middle * megabytes + packer.flush() + struct.pack("<II", check, size)
