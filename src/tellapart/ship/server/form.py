"""multipart/form-data, read as it arrives and kept in memory: every part is a file, and that a picture.

The parser is python-multipart's; nothing is written to a disk, which a container need not have. Parts,
heads of parts and names are bounded. The name of a file is told back to whoever sent it, and used for nothing
else.
"""

from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

__all__ = ["Form"]

_MOST_HEAD: Final = 8 << 10  # bytes of the headers of a part
_MOST_NAME: Final = 1_000  # characters
_FORM: Final = "Send multipart/form-data as curl does: curl -F file=@picture.jpg"


class Form:
    """Takes a body in pieces; `pictures` are (name, bytes), in the order sent.

    Raises HTTPException 400 where it is no such form or a part has no file name, 413 for more parts than
    `most_files`.
    """

    def __init__(self, content_type: str, most_files: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise HTTPException(400, f"The content type names no boundary. {_FORM}.")
        self._most_files = most_files
        self._whole = False
        self._names: list[str] = []
        self._parts: list[list[bytes]] = []
        self._head: list[list[bytes]] = []
        self._head_bytes = 0
        self._parser = MultipartParser(boundary, self._callbacks())

    @property
    def pictures(self) -> list[tuple[str, bytes]]:
        joined = (b"".join(pieces) for pieces in self._parts)
        return list(zip(self._names, joined, strict=True))

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError:
            raise HTTPException(400, f"The form cannot be read. {_FORM}.") from None

    def finish(self) -> None:
        """The body has ended."""
        if not self._whole:
            raise HTTPException(400, f"The form ends before its last boundary. {_FORM}.")
        if not self._parts:
            raise HTTPException(400, f"There is no picture in the form. {_FORM}.")

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._on_part,
            "on_header_field": lambda data, start, end: self._on_head(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._on_head(1, data[start:end]),
            "on_header_end": lambda: self._head.append([b"", b""]),
            "on_headers_finished": self._on_head_over,
            "on_part_data": lambda data, start, end: self._parts[-1].append(data[start:end]),
            "on_end": self._on_end,
        }

    def _on_part(self) -> None:
        if len(self._parts) == self._most_files:
            raise HTTPException(
                413, f"At most {self._most_files} pictures can be sent at a time; send fewer."
            )
        self._parts.append([])
        self._head, self._head_bytes = [[b"", b""]], 0

    def _on_head(self, which: int, piece: bytes) -> None:
        self._head_bytes += len(piece)
        if self._head_bytes > _MOST_HEAD:
            raise HTTPException(400, f"The head of a part is longer than {_MOST_HEAD} bytes.")
        self._head[-1][which] += piece

    def _on_head_over(self) -> None:
        found = [
            parse_options_header(value)[1]
            for field, value in self._head
            if field.strip().lower() == b"content-disposition"
        ]
        name = found[0].get(b"filename") if len(found) == 1 else None
        if name is None:
            raise HTTPException(400, f"A part of the form has no file name. {_FORM}.")
        self._names.append(name.decode("utf-8", "replace")[:_MOST_NAME])

    def _on_end(self) -> None:
        self._whole = True
