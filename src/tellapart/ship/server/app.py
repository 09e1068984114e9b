"""The routes, what OpenAPI says of them, and errors in one shape. The gate stands before it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tellapart.ship.page import ANSWER_SCRIPT, STYLE
from tellapart.ship.server import openapi
from tellapart.ship.server.answering import predict
from tellapart.ship.server.gate import FAULT
from tellapart.ship.server.service import Service

__all__ = ["create_app"]

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_WORDS: Final = {
    404: "There is nothing here; /openapi.json says what there is.",
    405: "Not with this method; the header Allow names the others.",
}
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


def create_app(service: Service, *, token: bool) -> FastAPI:
    """The routes of a server; with `token` its description says that one is asked for."""
    app = FastAPI(
        title="tellapart", version=version("tellapart"), description=openapi.DESCRIPTION,
        docs_url=None, redoc_url=None, redirect_slashes=False,  # the pages for people load from elsewhere
    )  # fmt: skip
    _add_predict(app, service)
    _add_facts(app, service)
    _add_health(app, service)
    _add_page(app)
    app.add_exception_handler(HTTPException, _say)
    app.add_exception_handler(Exception, _confess)
    openapi.describe(
        app.openapi(), most_files=service.limits.most_files, token=token
    )  # made once, and kept by FastAPI
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predict", operation_id="predict")
    async def v1_predict(request: Request) -> Response:
        """Tell what pictures show."""
        return await predict(request, service)


def _add_facts(app: FastAPI, service: Service) -> None:
    limits = service.limits
    allowed = {
        name: getattr(limits, name)
        for name in ("most_bytes", "most_files", "most_pixels", "deadline")
    }

    @app.get("/v1/model", operation_id="model")
    async def v1_model() -> Response:
        """What answers here, and what a request may hold."""
        return JSONResponse({**service.model.now.facts, "limits": allowed})

    @app.get("/metrics", operation_id="metrics")
    async def metrics() -> Response:
        """Counts and seconds, for Prometheus."""
        return Response(service.figures.text(), headers={"content-type": _PROMETHEUS})


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", operation_id="healthz")
    async def healthz() -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", operation_id="readyz")
    async def readyz() -> Response:
        """Whether it answers: the model is loaded and warm, and the server is not stopping."""
        if service.stopping:
            raise HTTPException(503, "The server is stopping.")
        return JSONResponse({"status": "ready"})


def _add_page(app: FastAPI) -> None:
    """The page's own files are read once, here: no path that is asked for is ever looked up."""
    known = _static_files()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(known, "index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return _file(known, name)


def _static_files() -> dict[str, tuple[bytes, str]]:
    """Content and type of the page's files, by name: its own, and those that all pages share."""
    own = files("tellapart.ship.server").joinpath("static").iterdir()
    found = {}
    for entry in (*own, ANSWER_SCRIPT, STYLE):
        kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if kind is not None and entry.is_file():
            found[entry.name] = entry.read_bytes(), kind
    return found


def _file(known: Mapping[str, tuple[bytes, str]], name: str) -> Response:
    if name not in known:
        raise HTTPException(404)
    content, kind = known[name]
    return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})


async def _say(request: Request, error: Any) -> Response:
    """Every refusal is one sentence."""  # async, so that no thread is started for it
    body = json.dumps({"error": _WORDS.get(error.status_code, str(error.detail))}).encode()
    return Response(body, error.status_code, error.headers, "application/json")


async def _confess(request: Request, error: Exception) -> Response:
    """A fault; the gate, which it is raised to afterwards, logs it."""
    return await _say(request, HTTPException(500, FAULT))
