"""Files of every kind that browsers and Python both read, drawn so that turning them matters."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def drawn(height: int = 243, width: int = 321, seed: int = 23) -> Image.Image:
    """A picture whose quarters differ in colour, with noise."""
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)
    noise = generator.normal(0, 8, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def every_kind() -> dict[str, bytes]:
    """Name → content."""
    image, grey = drawn(), drawn(seed=5).convert("L")
    alpha = image.copy()
    alpha.putalpha(drawn(seed=7).convert("L"))
    palette = image.quantize(64)
    deep = np.asarray(image).astype(np.uint16) * 257
    found = {
        "odd.jpg": coded(image, "JPEG", quality=90),
        "progressive.jpg": coded(image, "JPEG", quality=85, progressive=True),
        "grey.jpg": coded(grey, "JPEG"),
        "cmyk.jpg": coded(image.convert("CMYK"), "JPEG", quality=95),
        "four.jpg": coded(Image.merge("CMYK", [drawn(seed=s).convert("L") for s in range(4)]), "JPEG"),
        "large.jpg": coded(drawn(1500, 2048), "JPEG"),  # Python decodes it at an eighth
        "rgb.png": coded(image, "PNG"),
        "alpha.png": coded(alpha, "PNG"),
        "grey-alpha.png": coded(Image.merge("LA", (grey, alpha.getchannel("A"))), "PNG"),
        "palette.png": coded(palette, "PNG"),
        "palette-clear.png": coded(palette, "PNG", transparency=3),
        "grey.png": coded(grey, "PNG"),
        "black-white.png": coded(grey.convert("1"), "PNG"),
        "deep-grey.png": coded(Image.fromarray(deep[..., 0].copy()), "PNG"),
        "deep.png": deep_png(deep),
        "gamma.png": with_chunk(coded(image, "PNG"), b"gAMA", struct.pack(">I", 100_000)),
        "moving.gif": coded(palette, "GIF", save_all=True, append_images=[drawn(seed=9).quantize(64)]),
        "clear.gif": coded(palette, "GIF", transparency=3),
        "lossy.webp": coded(image, "WEBP", quality=80),
        "lossless.webp": coded(alpha, "WEBP", lossless=True),
        "moving.webp": coded(image, "WEBP", save_all=True, append_images=[drawn(seed=9)]),
        "some.bmp": coded(image, "BMP"),
    }  # fmt: skip
    for k in range(2, 9):
        found[f"exif-{k}.jpg"] = coded(image, "JPEG", quality=90, exif=exif_of(k))
    found["exif-6.png"] = coded(image, "PNG", exif=exif_of(6))
    found["large-exif-8.jpg"] = coded(drawn(1501, 2003), "JPEG", exif=exif_of(8))
    return found


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one chunk more, before its pixels."""
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk(kind, content) + png[place:]


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of uint16 (H, W, 3), which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)
