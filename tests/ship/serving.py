"""What the tests of the model server share: pictures, a client, predictors that take their time."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import Image

from tellapart.ship.prediction import Prediction
from tellapart.ship.server.current_model import Loaded

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
TOKEN = "a-token-of-the-tests-0123456789"
COLOURS = {"red": (200, 20, 30), "green": (20, 200, 30), "blue": (20, 30, 200)}


def picture(colour="red", kind="JPEG", size=(96, 72)):
    """A picture file of mostly one colour, as bytes."""
    pixels = np.full((size[1], size[0], 3), COLOURS[colour], np.uint8)
    pixels[::7, ::5] += 10
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def form(*parts, boundary="a-boundary", name="file"):
    """The content type and the body of a form; a part is bytes, or (file name, bytes)."""
    body = b""
    for part in parts:
        file, content = part if isinstance(part, tuple) else ("picture", part)
        shown = f'form-data; name="{name}"; filename="{file}"'
        head = f"--{boundary}\r\nContent-Disposition: {shown}\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The sentence of a refusal, which has nothing else."""
        assert list(self.json) == ["error"], self.json
        assert self.headers["Content-Type"] == "application/json"
        return self.json["error"]


class Client:
    """Sends exactly what it is told; every answer has all the headers. With `keep` on one connection."""

    def __init__(self, server, token=None, *, keep=False):
        self._keep = keep
        self.server, self.port = server, server.port
        self.host = f"127.0.0.1:{server.port}"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, path, method="GET", body=None, headers=()):
        given = {**self._headers, **dict(headers)}
        try:
            self._connection.request(method, path, body, {"Host": self.host, **given})
            answer = Answer(self._connection.getresponse())
        finally:
            if not self._keep:
                self._connection.close()
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert answer.headers["X-Request-ID"]
        assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
        assert "server" not in {name.lower() for name in answer.headers}
        return answer

    def predict(self, body, kind="image/jpeg", headers=()):
        given = {"Content-Type": kind} if kind is not None else {}
        return self.ask("/v1/predict", "POST", body, {**given, **dict(headers)})

    def predict_form(self, *parts, **options):
        kind, body = form(*parts, **options)
        return self.predict(body, kind)

    def figure(self, line):
        """A value of /metrics by its whole name with labels; 0 where it was not counted yet."""
        for one in self.ask("/metrics").body.decode().splitlines():
            name, _, value = one.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def close(self):
        self._connection.close()


class Slow:
    """Stands for a predictor that takes a known time, whatever the machine does meanwhile."""

    classes = ("red", "green")

    def __init__(self, seconds=0.0, *, until=None, fault=None):
        self.seconds, self.until, self.fault = seconds, until, fault
        self.names = []
        self._lock = threading.Lock()

    def predict_beside(self, source, *, name=None):
        with self._lock:
            self.names.append(name)
        if self.until is not None:
            assert self.until.wait(30)
        time.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        return Prediction(name or "", self.classes, np.float32([0.9, 0.1]))


@contextmanager
def answered_by(server, predictor, seconds=None):
    """While the block runs, another predictor answers, which is known to take so many seconds."""
    model, admission = server.service.model, server.service.admission
    before, expected = model.now, admission.seconds
    model.now = Loaded(predictor, before.facts, 0.001)
    admission.seconds = predictor.seconds if seconds is None else seconds
    try:
        yield predictor
    finally:
        model.now, admission.seconds = before, expected


def head(server, length, *more, path="/v1/predict"):
    """The head of a request with pictures, for a socket."""
    lines = [
        f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Length: {length}",
        "Content-Type: image/jpeg", *more, "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def connected(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def heard(sock):
    """All that comes until the other side closes."""
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pieces.append(b"(reset)")
    return b"".join(pieces)


def until(condition, patience=15.0):
    """Wait for what has to become true."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.01)
