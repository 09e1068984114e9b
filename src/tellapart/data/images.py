"""The one decoder: from the bytes of a file to RGB pixels, safely.

The format is told by the content, never by the name. Bytes and pixels are bounded before anything is
decoded. EXIF orientation is applied; palettes, alpha (over white), grey, CMYK, 16-bit and float
pictures become 8-bit RGB; of an animation the first frame counts. Colour profiles are not applied:
networks were trained without.
"""

import importlib.util
import stat
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (  # the plugins are imported to be registered, and no others; AVIF's when it is met
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    IcoImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from tellapart.data.places import is_url
from tellapart.errors import ImageError

__all__ = [
    "EXTENSIONS",
    "MOST_PIXELS",
    "Picture",
    "check_head",
    "decode",
    "looks_like_image",
    "open_image",
    "read_bytes",
    "read_picture",
    "upright_rgb",
]

_AVIF: Final = importlib.util.find_spec("PIL._avif") is not None  # missing from some builds
_AT_HAND: Final = tuple(n for n in "JPEG PNG WEBP GIF BMP TIFF PPM ICO".split() if n in Image.OPEN)
FORMATS: Final = (*_AT_HAND, "AVIF") if _AVIF else _AT_HAND
EXTENSIONS: Final = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .bmp .tif .tiff .avif .ppm .pgm .pbm .ico".split()
)
MOST_BYTES: Final = 256 << 20
MOST_PIXELS: Final = 178_956_970  # Pillow's own limit against decompression bombs
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_MOST_SCANS = 100  # progressive JPEGs have about ten
_DRAFT_RESERVE = (
    2.0  # a large JPEG is decoded at a scale that keeps at least this much of what is needed
)


def read_bytes(
    path: Path, name: str | None = None, *, keep: bool = False, take: bool = False
) -> bytes:
    """The bytes of one picture file, at most `MOST_BYTES`.

    Where `name` is a URL that is read, and `path` does not matter. A path below a tar file is that of a
    member. With `keep` what comes from afar is kept for a while, and `take` gives that, which may have
    changed since: only who compares its hash may ask for it.

    Raises ImageError where the file is missing, empty, too large, no regular file or not readable, or
    where its server does not give it.
    """
    name = name if name is not None else str(path)
    if is_url(name):
        return _from_afar(name, keep, take)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ImageError(name, "not a file", "expected a picture file")
        if info.st_size > MOST_BYTES:
            raise ImageError(
                name, "too large", f"{info.st_size:,} bytes; at most {MOST_BYTES:,} are read"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(name, "missing", "there is no such file") from None
    except NotADirectoryError:
        return _from_tar(path, name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(name, "cannot be read", reason) from None
    if not content:
        raise ImageError(name, "empty", "the file has 0 bytes; fetch it again")
    return content


def _from_afar(url: str, keep: bool, take: bool) -> bytes:
    from tellapart.data import kept_bytes  # what follows is not needed for files at hand
    from tellapart.data.remote import read_url
    from tellapart.data.tar_members import read_member, split_tar

    if take and (kept := kept_bytes.take(url)) is not None:
        return kept
    inside = split_tar(url)
    content = read_member(*inside, url, MOST_BYTES) if inside else read_url(url, most=MOST_BYTES)
    if keep:
        kept_bytes.keep(url, content)
    return content


def _from_tar(path: Path, name: str) -> bytes:
    from tellapart.data.tar_members import read_member, split_tar

    inside = split_tar(str(path))
    if inside is None:
        raise ImageError(name, "cannot be read", "Not a directory") from None
    return read_member(*inside, name, MOST_BYTES)


def open_image(path: str | Path) -> NDArray[np.uint8]:
    """The picture in a file as RGB pixels, uint8 (H, W, 3), upright.

    Raises ImageError, which names the file and the reason.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 3), 128).save(f"{folder}/grey.png")
    ...     open_image(f"{folder}/grey.png").shape
    (3, 4, 3)
    """
    return np.asarray(decode(read_bytes(Path(path)), str(path)))


def decode(
    content: bytes, name: str = "picture", *, shorter_side: int | None = None
) -> Image.Image:
    """The picture in `content` as an upright Pillow image of mode RGB.

    Where `shorter_side` (px) says that no more is needed, a large JPEG is decoded at a half, a
    quarter or an eighth, so that at least twice that side is left. `name` is used in errors alone.

    Raises ImageError with the reason `not an image`, `truncated`, `too many pixels` or `damaged`.
    """
    return read_picture(BytesIO(content), name, shorter_side=shorter_side).pixels


class Picture(NamedTuple):
    """A decoded picture: upright RGB pixels, perhaps at a smaller scale, the name of its format, its
    whole size in px, upright, and whether it is plain: RGB or grey and upright as it is stored.

    `orientation` is what EXIF says (1 to 8, 1 is upright), `exif` whether there is any, `alpha` whether
    there is an alpha channel or a transparent colour.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    plain: bool
    orientation: int = 1
    exif: bool = False
    alpha: bool = False


def read_picture(
    source: BinaryIO,
    name: str = "picture",
    *,
    shorter_side: int | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Picture:
    """Like `decode`, from an open file, which is read in pieces where the format allows it. `most_pixels`
    bounds width times height before anything is decoded.

    Every byte of the picture is looked at, at a smaller scale too, so that a truncated file is found.
    """
    try:
        with Image.open(source, formats=_formats(source)) as image:
            _check_size(image, name, most_pixels)
            width, height = image.size
            if image.info.get("progressive"):
                _check_scans(source, name)
            if shorter_side is not None and image.format == "JPEG":
                _draft(image, round(shorter_side * _DRAFT_RESERVE))
            pixels = upright_rgb(image, name, most_pixels)
            orientation = _orientation(image)
            if orientation >= 5:
                width, height = height, width
            exif, alpha = bool(image.info.get("exif")), image.has_transparency_data
            plain = orientation == 1 and not alpha and image.mode in ("RGB", "L")
            kind = image.format or ""
            return Picture(pixels, kind, width, height, plain, orientation, exif, alpha)
    except ImageError:
        raise
    except UnidentifiedImageError:
        source.seek(0)
        raise ImageError(name, "not an image", _seems(source.read(256))) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise _damaged(name, error) from None


def upright_rgb(
    image: Image.Image, name: str = "picture", most_pixels: int = MOST_PIXELS
) -> Image.Image:
    """A Pillow image of any mode, loaded or not, as an upright one of mode RGB.

    Raises ImageError like `decode`.
    """
    try:
        _check_size(image, name, most_pixels)
        image.load()
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise _damaged(name, error) from None


def looks_like_image(path: Path) -> bool:
    """Whether a file is to be taken for a picture: by its extension or, failing that, its first bytes."""
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_SIGNATURES) or head[8:12] == b"WEBP" or head[4:12] == b"ftypavif"


def check_head(head: bytes, name: str = "picture") -> None:
    """Raises ImageError where a file that begins with these bytes, 16 or more, cannot be a picture."""
    accepts = (Image.OPEN[kind][1] for kind in _formats(BytesIO(head)))
    if not any(accept is None or accept(head[:16]) is True for accept in accepts):
        raise ImageError(name, "not an image", _seems(head))


def _formats(source: BinaryIO) -> tuple[str, ...]:
    """Those that a file may have. The plugin of AVIF takes as long to load as all others together, so it
    is loaded for a file that may be one."""
    source.seek(0)
    head = source.read(8)
    source.seek(0)
    if not _AVIF or head[4:] != b"ftyp":
        return _AT_HAND
    from PIL import AvifImagePlugin  # noqa: F401

    return FORMATS


def _check_size(image: Image.Image, name: str, most: int) -> None:
    width, height = image.size
    if width * height > most:
        raise ImageError(name, "too many pixels", f"{width} × {height}; at most {most:,}")
    if width < 1 or height < 1:
        raise ImageError(name, "damaged", f"{width} × {height} px")


def _check_scans(source: BinaryIO, name: str) -> None:
    """A progressive JPEG decodes all pixels anew for each scan, of which a small file may hold thousands."""
    place = source.tell()
    source.seek(0)
    scans, last = 0, b""
    while chunk := source.read(1 << 20):
        scans += (last + chunk).count(b"\xff\xda")  # in its data 0xFF is followed by 0
        last = chunk[-1:]
    source.seek(place)
    if scans > _MOST_SCANS:
        raise ImageError(name, "damaged", f"{scans:,} scans; at most {_MOST_SCANS} are decoded")


def _draft(image: ImageFile.ImageFile | Image.Image, shorter: int) -> None:
    scale = min(image.size) / shorter
    if scale >= 2:
        image.draft(None, (round(image.width / scale), round(image.height / scale)))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        return orientation if 1 <= orientation <= 8 else 1
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image if type(image) is Image.Image else image.copy()
    if image.mode.startswith(("I", "F")):
        return _from_deep(np.asarray(image))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep(values: NDArray[np.generic]) -> Image.Image:
    """Grey of 16 or 32 bits, or floats: those within [0, 1] are stretched; integers above 255 are 16-bit."""
    grey = np.nan_to_num(np.asarray(values, np.float32))
    top = float(grey.max(initial=np.float32(0)))
    if values.dtype.kind == "f":
        grey = grey * np.float32(255) if top <= 1 else grey
    elif values.dtype.itemsize == 2 or top > 255:
        grey = grey / np.float32(257)
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")


def _seems(content: bytes) -> str:
    head = content[:256].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "it holds a web page; the link did not lead to a picture"
    if head.startswith((b"<?xml", b"<svg")):
        return "it holds XML or SVG; save it as PNG"
    return f"its first bytes are {content[:8]!r}; save it as JPEG or PNG"


def _damaged(name: str, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(name, "too many pixels", f"at most {MOST_PIXELS:,} are decoded")
    if isinstance(error, MemoryError):
        return ImageError(name, "too many pixels", "not enough memory to decode it")
    text = str(error) or type(error).__name__
    early = ("truncated", "premature end", "unexpected end", "ends early", "image file is", "eof")
    if isinstance(error, EOFError) or any(word in text.lower() for word in early):
        return ImageError(name, "truncated", "the file ends early; fetch it again")
    return ImageError(name, "damaged", text)
