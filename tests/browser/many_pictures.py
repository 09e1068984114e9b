"""A server that answers as the review does, of thousands of pictures that nobody has to embed."""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

from PIL import Image

__all__ = ["ManyPictures"]

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ERROR = {"n": 9, "errors": 1, "rate": 0.1, "low": 0.05, "high": 0.2, "sentence": "error rate 10 %"}
_CLASSES = ["warm", "cold"]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A browser that wants a picture no longer hangs up."""


class ManyPictures:
    """`count` pictures in one queue; `url` opens the page, `asked` are the paths it has asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> "ManyPictures":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[str, bytes]:
        """The type and content of what is at a path."""
        parts = urlsplit(path)
        first, _, last = parts.path[1:].rpartition("/")
        if first in ("thumb", "full"):
            return "image/png", _picture(int(last))
        if parts.path == "/" or first == "static":
            name = last or "index.html"
            content = files("tellapart.review").joinpath("static", name).read_bytes()
            return _TYPES[name.rpartition(".")[2]], content
        if parts.path == "/api/state":
            found = self._state()
        elif first == "api/queue":
            found = {"version": 1, "items": [[id] for id in range(self.count)]}
        elif parts.path == "/api/pictures":
            found = {
                "pictures": [_details(int(id)) for id in parse_qs(parts.query)["ids"][0].split(",")]
            }
        else:
            lists = {"neighbours": [], "copies": [], "findings": [], "history": []}
            found = {**_details(int(last)), "probabilities": [0.9, 0.1], **lists}
        return "application/json", json.dumps(found).encode()

    def _state(self) -> dict:
        queue = {
            "name": "label_errors",
            "title": "Labels",
            "why": "All of them.",
            "left": self.count,
        }
        return {
            "version": 1, "last": 0, "data": "many", "pictures": self.count, "classes": _CLASSES,
            "who": "ann", "class_counts": [self.count, 0], "queues": [queue], "decided": {"keep": 0},
            "pending": 0, "training": False, "error": {"before": _ERROR, "now": _ERROR}, "decisions": [],
        }  # fmt: skip

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        many = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                many.asked.append(self.path)
                kind, content = many.answer(self.path)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Security-Policy", _POLICY)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@cache
def _picture(id: int) -> bytes:
    """48 × 48 px, another for each id."""
    raw = BytesIO()
    noise = Image.effect_noise((48, 48), 60)
    colour = Image.new("L", (48, 48), id % 256)
    Image.merge("RGB", (noise, colour, Image.new("L", (48, 48), id // 256 * 12))).save(raw, "PNG")
    return raw.getvalue()


def _details(id: int) -> dict:
    return {
        "id": id, "name": f"{id}.png", "label": 0, "given": 0, "split": "train", "suggested": id % 2,
        "probability": 0.9, "why": "", "action": None, "width": 48, "height": 48,
    }  # fmt: skip
