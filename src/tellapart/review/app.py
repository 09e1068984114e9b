"""The routes of the review page: what comes in is looked at, a `Review` is asked, JSON goes out."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.exceptions import HTTPException

from tellapart.data.plain_text import plain
from tellapart.errors import TellapartError, UsageError
from tellapart.review.pictures import FULL, THUMB, Pictures
from tellapart.review.review import MOST_DECISIONS, MOST_PICTURES, Review

__all__ = ["create_app"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_MOST_ENTRY = 2**62  # SQLite counts with 64 bits

Id = Annotated[int, Path(ge=0, lt=2**31)]
Name = Annotated[str, Query(max_length=40)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Decision(_Sent):
    id: StrictInt
    action: Literal["keep", "relabel", "remove", "unsure"]
    label: StrictInt | None = None


class _Undo(_Sent):
    key: StrictStr = Field(pattern=r"\A[A-Za-z0-9-]{8,64}\z")
    who: StrictStr = Field(max_length=200)


class _Decisions(_Undo):
    queue: StrictStr = Field(max_length=40)
    decisions: list[_Decision] = Field(min_length=1, max_length=MOST_DECISIONS)


class _Nothing(_Sent):
    pass


def create_app(review: Review, who: str) -> FastAPI:
    """The page of a review; `who` is the name that it proposes. `access.Gate` stands before it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _add_files(app)
    _add_questions(app, review, who)
    _add_pictures(app, review)
    _add_decisions(app, review)
    _add_errors(app)
    return app


def _add_files(app: FastAPI) -> None:
    """The page's own files are read once, here: no path that is asked for is ever looked up."""
    known = _static_files()

    @app.get("/")
    def index() -> Response:
        return _file(known, "index.html")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return _file(known, name)


def _static_files() -> dict[str, tuple[bytes, str]]:
    """Content and type of the files beside the page, by name."""
    found = {}
    for entry in files("tellapart.review").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if kind is not None and entry.is_file():
            found[entry.name] = entry.read_bytes(), kind
    return found


def _file(known: Mapping[str, tuple[bytes, str]], name: str) -> Response:
    if name not in known:
        raise HTTPException(404, "There is no such file.")
    content, kind = known[name]
    return Response(content, headers={"content-type": kind})


def _add_questions(app: FastAPI, review: Review, who: str) -> None:
    @app.get("/api/state")
    def state(since: Annotated[int, Query(ge=0, le=_MOST_ENTRY)] = 0) -> Response:
        return JSONResponse({**review.state(since), "who": who})

    @app.get("/api/queue/{name}")
    def queue(
        name: Annotated[str, Path(max_length=40)],
        label: Annotated[int | None, Query(alias="class", ge=0, lt=2**31)] = None,
    ) -> Response:
        return JSONResponse(review.queue(name, label))

    @app.get("/api/pictures")
    def pictures(
        ids: Annotated[
            str, Query(pattern=r"\A[0-9]{1,9}(,[0-9]{1,9})*\z", max_length=10 * MOST_PICTURES)
        ],
        queue: Name = "random",
    ) -> Response:
        rows = [int(part) for part in ids.split(",")]
        return JSONResponse({"pictures": review.pictures(rows, queue)})

    @app.get("/api/picture/{row}")
    def details(row: Id, queue: Name = "random") -> Response:
        return JSONResponse(review.details(row, queue))


def _add_pictures(app: FastAPI, review: Review) -> None:
    table = review.subject.dataset.table
    known = Pictures(review.subject.dataset.root, list(table["path"]), list(table["sha256"]))

    @app.get("/thumb/{row}")
    def thumb(row: Id, request: Request) -> Response:
        return _picture(review, known, row, THUMB, request)

    @app.get("/full/{row}")
    def full(row: Id, request: Request) -> Response:
        return _picture(review, known, row, FULL, request)


def _picture(review: Review, known: Pictures, row: int, side: int, request: Request) -> Response:
    review.check_id(row)
    # Asked again each time: another review may be served at this port, with other pictures by these ids.
    headers = {"etag": known.tag(row, side), "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    shown = known.shown(row, side)
    if not shown.readable:
        headers = {"x-unreadable": "1"}
    return Response(shown.jpeg, headers=headers, media_type="image/jpeg")


def _add_decisions(app: FastAPI, review: Review) -> None:
    @app.post("/api/decisions")
    def decide(sent: _Decisions) -> Response:
        decisions = [decision.model_dump() for decision in sent.decisions]
        return JSONResponse({"last": review.decide(decisions, sent.who, sent.key, sent.queue)})

    @app.post("/api/undo")
    def undo(sent: _Undo) -> Response:
        last, rows = review.undo(sent.who, sent.key)
        return JSONResponse({"last": last, "ids": rows})

    @app.post("/api/rank")
    def rank(sent: _Nothing) -> Response:
        return JSONResponse({"version": review.ask()})


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong is said in one sentence."""

    def answer(
        status: Callable[[Any], int], sentence: Callable[[Any], str]
    ) -> Callable[[Request, Any], Response]:
        return lambda request, error: JSONResponse(
            {"error": plain(sentence(error))}, status_code=status(error)
        )

    app.add_exception_handler(UsageError, answer(lambda error: 422, str))
    app.add_exception_handler(TellapartError, answer(lambda error: 500, str))
    app.add_exception_handler(RequestValidationError, answer(lambda error: 422, _first))
    app.add_exception_handler(
        HTTPException, answer(lambda error: error.status_code, lambda error: str(error.detail))
    )
    app.add_exception_handler(
        Exception, answer(lambda error: 500, lambda error: "Something went wrong in the server.")
    )


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong with what was sent, and where."""
    found = error.errors()[0]
    place = " ".join(str(part)[:40] for part in found["loc"][1:])
    return f"{place or 'the body'}: {found['msg']}"[:300]
