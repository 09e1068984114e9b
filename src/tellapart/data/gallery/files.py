"""The bytes of one file of the gallery, sound or faulty, and how they get to the disk."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tellapart.data.gallery.jobs import Job
from tellapart.data.gallery.picture import Encoding, draw_picture, encode, plan_picture

__all__ = ["file_bytes", "write_aside"]

_NO_IMAGE = "<html><head><title>404 Not Found</title></head><body>{} not found</body></html>\n"
_ORIENTATION = 0x0112
# How the stored pixels are turned, and the EXIF value with which a viewer turns them back.
_TURNS = ((Image.Transpose.ROTATE_90, 6), (Image.Transpose.ROTATE_270, 8),
          (Image.Transpose.ROTATE_180, 3))  # fmt: skip


def file_bytes(job: Job) -> bytes:
    """Draw, alter, stamp and encode what the job asks for.

    >>> file_bytes(Job("a.jpg", "painting", 0, 0, "not an image"))[:6]
    b'<html>'
    """
    if job.alteration == "not an image":
        return _NO_IMAGE.format(job.path).encode()
    rng = np.random.default_rng([job.seed, job.index, 41])
    encoding = plan_picture(job.style, job.index, job.seed).encoding
    if job.path.endswith(".jpg") and encoding.suffix != "jpg":
        encoding = Encoding("jpg", 88, 2)
    image = draw_picture(job.style, job.index, job.seed)
    if job.alteration == "re-encoded":
        encoding = Encoding("jpg", int(rng.integers(45, 60)), 2)
    elif job.alteration == "exif_rotated":
        return _turned(image, encoding, rng)
    image = _altered(image, job.alteration, rng)
    if job.stamp:
        image = _stamped(image, job.stamp)
    data = encode(image, encoding)
    return data[: int(len(data) * rng.uniform(0.4, 0.7))] if job.alteration == "truncated" else data


def _altered(image: Image.Image, alteration: str, rng: np.random.Generator) -> Image.Image:
    width, height = image.size
    if alteration == "resized":
        share = rng.uniform(0.6, 0.8)
        return image.resize((int(width * share), int(height * share)), Image.Resampling.LANCZOS)
    if alteration == "cropped":
        left, top, right, bottom = rng.uniform(0.02, 0.08, 4) * (width, height, width, height)
        return image.crop((int(left), int(top), int(width - right), int(height - bottom)))
    if alteration == "mirrored":
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if alteration == "blank":
        level = int(rng.integers(256))
        return Image.new("RGB", (width, height), (level, level, level))
    if alteration == "blurry":
        return image.filter(ImageFilter.GaussianBlur(max(width, height) / 30))
    if alteration == "dark":
        return image.point([round(value * 0.06) for value in range(256)] * 3)
    if alteration == "tiny":
        share = rng.uniform(16, 28) / max(width, height)
        return image.resize((max(8, int(width * share)), max(8, int(height * share))))
    return image


def _turned(image: Image.Image, encoding: Encoding, rng: np.random.Generator) -> bytes:
    """Stored on its side or head, with the EXIF tag by which a viewer shows it upright."""
    turn, orientation = _TURNS[int(rng.integers(len(_TURNS)))]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    out = BytesIO()
    image.transpose(turn).save(out, "JPEG", quality=encoding.quality, exif=exif)
    return out.getvalue()


def _stamped(image: Image.Image, corner: str) -> Image.Image:
    """A small mark in a corner, as picture agencies put on theirs."""
    width, height = image.size
    size = max(14, min(width, height) // 8)
    mark = Image.new("L", (64, 64))
    pen = ImageDraw.Draw(mark)
    pen.ellipse((2, 2, 61, 61), outline=255, width=7)
    pen.rectangle((18, 18, 45, 24), fill=255)
    pen.rectangle((28, 18, 35, 47), fill=255)
    mark = mark.resize((size, size), Image.Resampling.LANCZOS).point(lambda v: v * 0.85)
    gap = size // 4
    x = gap if "left" in corner else width - size - gap
    y = gap if "top" in corner else height - size - gap
    out = image.copy()
    out.paste((30, 30, 30), (x + 1, y + 1), mark)
    out.paste((245, 245, 245), (x, y), mark)
    return out


def write_aside(path: Path, data: bytes) -> None:
    """Write the file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
