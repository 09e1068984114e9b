"""A request's body, read in bounded pieces and seconds, as pictures.

multipart/form-data is as many pictures as it has parts; an image, application/octet-stream or no content
type is one picture. Whatever a content type says of an image, its bytes alone tell what it is.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tellapart.ship.guarding import Message, Receive, only
from tellapart.ship.server.admission import Overloaded, Place
from tellapart.ship.server.form import Form
from tellapart.ship.server.limits import Limits

__all__ = ["Pictures", "check_head", "is_form", "overloaded", "read_pictures"]

Pictures = list[tuple[str | None, bytes]]
"""(name or None, bytes)."""

_HOW: Final = (
    "Send a picture as it is, with the content type image/… or application/octet-stream, or several as "
    "multipart/form-data"
)


def check_head(scope: Message, limits: Limits) -> None:
    """Raises HTTPException where the head alone says that the body cannot be taken."""
    length = only(scope["headers"], b"content-length")
    if length.isdecimal() and int(length[:18]) > limits.most_bytes:
        raise _too_large(limits)
    kind = _kind(scope)
    if not (kind in ("", "application/octet-stream", _FORM_TYPE) or kind.startswith("image/")):
        raise HTTPException(415, f"This content type is not read. {_HOW}.")
    encoding = only(scope["headers"], b"content-encoding").lower()
    if encoding not in ("", "identity"):
        raise HTTPException(415, "Send the picture as it is, without a content encoding.")


def is_form(scope: Message) -> bool:
    """Whether a request holds a list of pictures, and is answered with one."""
    return _kind(scope) == _FORM_TYPE


def overloaded(error: Overloaded, limits: Limits) -> HTTPException:
    """The answer to those that come at a bad time."""
    return HTTPException(
        503,
        f"More is waiting than can be answered in {limits.deadline:g} s. "
        f"Ask again in {error.retry_after} s.",
        headers={"retry-after": str(error.retry_after)},
    )


async def read_pictures(scope: Message, receive: Receive, limits: Limits, place: Place) -> Pictures:
    """All pictures of a request; `place` counts its bytes as they come.

    Raises HTTPException 400, 408, 413 or 503, and ClientDisconnect where the sender has gone.
    """
    form = None
    if is_form(scope):
        form = Form(only(scope["headers"], b"content-type"), limits.most_files)
    pieces: list[bytes] = []
    take = pieces.append if form is None else form.write
    try:
        async with asyncio.timeout(limits.body_seconds):
            await _read(receive, limits, place, take)
    except TimeoutError:
        raise HTTPException(
            408, f"The body did not arrive within {limits.body_seconds:g} s. Send it faster.",
            headers={"connection": "close"},
        ) from None  # fmt: skip
    if form is not None:
        form.finish()
        return list(form.pictures)
    content = b"".join(pieces)
    if not content:
        raise HTTPException(400, f"The body is empty. {_HOW}.")
    return [(None, content)]


async def _read(
    receive: Receive, limits: Limits, place: Place, take: Callable[[bytes], None]
) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        if place.bytes + len(piece) > limits.most_bytes:
            raise _too_large(limits)
        try:
            place.take(size=len(piece))
        except Overloaded as error:
            place.leave()  # at once: the next one, in this very turn of the loop, may fit then
            raise overloaded(error, limits) from None
        if piece:
            take(piece)
        if not message.get("more_body", False):
            return


def _too_large(limits: Limits) -> HTTPException:
    most = limits.most_bytes
    shown = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most:,} bytes"
    return HTTPException(413, f"At most {shown} can be sent at a time; send less.")


def _kind(scope: Message) -> str:
    return only(scope["headers"], b"content-type").partition(";")[0].strip().lower()


_FORM_TYPE: Final = "multipart/form-data"
