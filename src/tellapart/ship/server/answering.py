"""From a request with pictures to its answer: read, let in, and waited for until the deadline."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tellapart.ship.prediction import Prediction
from tellapart.ship.server.admission import Overloaded, TooMuch
from tellapart.ship.server.body import Pictures, is_form, overloaded, read_pictures
from tellapart.ship.server.gate import Asked
from tellapart.ship.server.service import Service
from tellapart.ship.server.workers import Job

__all__ = ["predict"]

_NO_NAME: Final = "picture"  # in messages; the answer says null


async def predict(request: Request, service: Service) -> Response:
    """The answer to `POST /v1/predict`. Raises HTTPException for what is refused."""
    asked: Asked = request.scope["tellapart"]
    try:
        pictures = await read_pictures(request.scope, request.receive, service.limits, asked.place)
        asked.facts = {"pictures": len(pictures), "bytes": asked.place.bytes}
        _let_in(pictures, asked, service)
        answers = await _computed(pictures, request, service)
    except ClientDisconnect:
        asked.gone = True
        return Response(status_code=400)  # to nobody
    service.figures.pictures(answers)
    asked.facts["unusable"] = sum(answer.error is not None for answer in answers)
    rows = [
        {**answer.to_json(), "path": name}
        for answer, (name, _) in zip(answers, pictures, strict=True)
    ]
    if is_form(request.scope):
        return _json({"predictions": rows})
    if (error := answers[0].error) is not None:
        status = 415 if error.startswith("not an image") else 422
        raise HTTPException(status, f"The picture cannot be used: {error}.")
    return _json(rows[0])


def _let_in(pictures: Pictures, asked: Asked, service: Service) -> None:
    """The first picture was let in with the head; a form may hold more."""
    try:
        asked.place.take(pictures=len(pictures) - 1)
    except TooMuch as error:
        raise HTTPException(
            413,
            f"{len(pictures)} pictures cannot be answered in {service.limits.deadline:g} s. Send at most "
            f"{error.fits} at a time.",
        ) from None
    except Overloaded as error:
        raise overloaded(error, service.limits) from None


async def _computed(pictures: Pictures, request: Request, service: Service) -> Sequence[Prediction]:
    """The answers, in order. Raises ClientDisconnect where the asker has gone, HTTPException 503 where the
    deadline has passed, and whatever went wrong in computing."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    start = time.monotonic()
    job = Job(
        service.model.now.predictor,
        [(name or _NO_NAME, content) for name, content in pictures],
        lambda job: _tell(loop, finished),
    )
    pictures[:] = [(name, b"") for name, _ in pictures]  # a worker frees each when it is done
    service.workers.submit(job)
    over = asyncio.ensure_future(finished.wait())
    gone = asyncio.ensure_future(request.receive())  # nothing more comes but the end
    try:
        await asyncio.wait(
            (over, gone),
            timeout=max(0.1, service.limits.deadline - 3 * service.admission.lag),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        over.cancel()
        gone.cancel()
        if not finished.is_set():
            job.abandon()
    _learn(job, start, service)
    if not finished.is_set():
        if gone.done() and not gone.cancelled():
            raise ClientDisconnect
        service.figures.late.inc()
        raise overloaded(Overloaded(service.admission.retry_after), service.limits)
    if job.fault is not None:
        raise job.fault
    return [answer for answer in job.answers if answer is not None]


def _tell(loop: asyncio.AbstractEventLoop, finished: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(finished.set)
    except RuntimeError:  # the server has ended meanwhile
        return


def _learn(job: Job, start: float, service: Service) -> None:
    for seconds in job.seconds:
        service.admission.learn(seconds)
        service.figures.picture_seconds.observe(seconds)
    if job.begun is not None:
        service.figures.waiting_seconds.observe(max(0.0, job.begun - start))


def _json(content: Any) -> Response:
    return Response(json.dumps(content).encode(), media_type="application/json")
