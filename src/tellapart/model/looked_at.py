"""From a file, or an image at hand, to the picture that a network looks at, before preprocessing.

Training and every exported model see a picture through this one function.
"""

from io import BytesIO

from PIL import Image

from tellapart.data.images import MOST_PIXELS, Picture, read_picture, upright_rgb
from tellapart.data.picture_facts import LEAST_SIDE
from tellapart.model.preprocess import PreprocessSpec

__all__ = ["decoded", "looked_at"]


def looked_at(
    content: bytes | Image.Image,
    name: str,
    preprocess: PreprocessSpec,
    most_pixels: int = MOST_PIXELS,
) -> Image.Image:
    """The upright RGB picture of a file's bytes, or of an image that Pillow has opened or made.

    Raises ImageError, with `name` in it, where it is no usable picture, or has more than `most_pixels`.
    """
    if isinstance(content, Image.Image):
        return upright_rgb(content, name, most_pixels)
    return decoded(content, name, preprocess, most_pixels).pixels


def decoded(
    content: bytes, name: str, preprocess: PreprocessSpec, most_pixels: int = MOST_PIXELS
) -> Picture:
    """The picture in a file's bytes, a large JPEG at the smaller scale that still gives all that is
    looked at. Raises ImageError."""
    least = max(preprocess.shorter_side, LEAST_SIDE // 2)  # twice that is left
    return read_picture(BytesIO(content), name, shorter_side=least, most_pixels=most_pixels)
