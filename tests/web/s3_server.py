"""An S3-compatible server on loopback (moto's) that plants faults, for tests and for other processes.

In a test, in threads of its own:

    with s3_server(faults=["503", "cut"]) as server:
        server.put(folder, "bucket")
        ...  # with AWS_ENDPOINT_URL=server.url
        assert server.planted["503"] == ...

As a process: `python s3_server.py PORT [FAULT …]`; `GET /-planted` and `/-asked` give its counts as JSON
then, and `put(url, folder, bucket)` fills it.

Each object's first GET meets the first fault, its second the second, and so on; then all is right. Faults:
`503` (SlowDown), `500`, `403`, `slow` (no answer for `slow_seconds`), `cut` (half of the announced body).
"""

import json
import logging
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

CODES = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied"}
WORDS = {"503": "Slow Down", "500": "Internal Server Error", "403": "Forbidden"}


class Faulty:
    """moto's application behind a door at which things go wrong. `asked` counts GETs of each object,
    `planted` the faults."""

    def __init__(self, faults=(), slow_seconds=3.0):
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.moto = DomainDispatcherApplication(create_backend_app)
        self.faults, self.slow_seconds = list(faults), slow_seconds
        self.asked, self.planted = Counter(), Counter()
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path in ("/-planted", "/-asked"):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(getattr(self, path[2:])).encode()]
        fault = self.fault(environ["REQUEST_METHOD"], path)
        if fault == "slow":
            time.sleep(self.slow_seconds)
        elif fault == "cut":
            return self.cut(environ, start_response)
        elif fault:
            body = f"<Error><Code>{CODES[fault]}</Code><Message>planted</Message></Error>".encode()
            head = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(f"{fault} {WORDS[fault]}", head)
            return [body]
        return self.moto(environ, start_response)

    def fault(self, method, path):
        path = path.encode("latin-1").decode()  # WSGI's way
        if method != "GET" or path.strip("/").count("/") < 1:
            return ""
        with self.lock:
            number = self.asked[path]
            self.asked[path] += 1
            fault = self.faults[number] if number < len(self.faults) else ""
            if fault:
                self.planted[fault] += 1
            return fault

    def cut(self, environ, start_response):
        body = b"".join(self.moto(environ, start_response))
        return [body[: len(body) // 2]]


def put(url, folder, bucket):
    """Put all files below a folder into a bucket, which is made."""
    send(f"{url}/{bucket}")
    for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        key = quote(file.relative_to(folder).as_posix())
        send(f"{url}/{bucket}/{key}", file.read_bytes())


def send(url, body=b""):
    request = urllib.request.Request(url, data=body, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")
    request.add_header("x-amz-acl", "public-read")  # so that http:// may ask too
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


class S3Server:
    def __init__(self, app, port=0):
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.app = app
        self.server = make_server("127.0.0.1", port, app, threaded=True)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.planted, self.asked = app.planted, app.asked
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def put(self, folder, bucket="bucket"):
        put(self.url, folder, bucket)

    def new_faults(self, faults=()):
        """As if nothing had been asked yet."""
        with self.app.lock:
            self.app.faults = list(faults)
            self.planted.clear()
            self.asked.clear()


@contextmanager
def s3_server(faults=(), slow_seconds=3.0, port=0):
    server = S3Server(Faulty(faults, slow_seconds), port)
    server.thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.thread.join(10)
        server.server.server_close()


if __name__ == "__main__":
    with s3_server(sys.argv[2:], port=int(sys.argv[1])) as running:
        sys.stdout.write(running.url + "\n")
        sys.stdout.flush()
        running.thread.join()
