"""Predict on a Ray cluster: the predictor is sent once, parts go to workers, receipts or answers come back.

The functions that compute and write are those of the local engine; each worker opens the predictor once.
"""

import platform
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from tellapart.scale.ray_map import connected, map_parts
from tellapart.ship.answer_shards import Part, Receipt, Shards, cut
from tellapart.ship.input_table import Input
from tellapart.ship.prediction import Prediction
from tellapart.ship.predictor import Predictor

__all__ = ["answer_parts", "stream_answers"]

_ROWS = 64  # of a part whose answers come back: they are waited for


def answer_parts(
    predictor: Predictor,
    shards: Shards,
    parts: Iterator[Part],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[Receipt]:
    """Receipts of parts that workers have answered and written, as they come, in no order.

    Raises what `connected` and `map_parts` raise.
    """
    shared = (predictor.on_one_cpu(), shards)
    given = (part.to_json() for part in parts)
    # Receipts are closed before the connection, so that nothing runs on without one.
    with (
        connected(address),
        closing(map_parts(_answer_part, shared, given, workers=workers)) as told,
    ):
        for values in told:
            yield Receipt(**values)


def stream_answers(
    predictor: Predictor,
    inputs: Iterator[Input],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Answers in the order of the inputs; those of one wave of parts are held at most.

    Raises what `connected` and `map_parts` raise.
    """
    given = (part.to_json() for part in cut(inputs, _ROWS))
    shared = predictor.on_one_cpu()
    early: dict[int, list[dict[str, Any]]] = {}
    wanted = 0
    with connected(address), closing(map_parts(_give_part, shared, given, workers=workers)) as told:
        for values in told:
            early[values["number"]] = values["answers"]
            while wanted in early:
                for answer in early.pop(wanted):
                    yield _unpacked(answer, predictor)
                wanted += 1


def _answer_part(shared: tuple[Predictor, Shards], values: Any) -> dict[str, Any]:
    predictor, shards = shared
    part = Part.from_json(values)
    receipt = shards.kept(part)
    if receipt is None:
        shards.check_seen(f"the node {platform.node()}")
        receipt = shards.write(part, _answers(predictor, part))
    return receipt.to_json()


def _give_part(predictor: Predictor, values: Any) -> dict[str, Any]:
    part = Part.from_json(values)
    answers = [_packed(answer) for answer in _answers(predictor, part)]
    return {"number": part.number, "answers": answers}


def _answers(predictor: Predictor, part: Part) -> list[Prediction]:
    return [predictor.predict_beside(place, name=name) for name, place in part.inputs]


def _packed(answer: Prediction) -> dict[str, Any]:
    """What of an answer the predictor does not know itself, for JSON, bit for bit."""
    numbers = b64encode(answer.probabilities.astype("<f4").tobytes()).decode("ascii")
    return {
        "path": answer.path, "error": answer.error, "novelty": answer.novelty, "probabilities": numbers,
    }  # fmt: skip


def _unpacked(values: dict[str, Any], predictor: Predictor) -> Prediction:
    numbers = np.frombuffer(b64decode(values.pop("probabilities")), "<f4").astype(np.float32)
    answer = Prediction(**values, classes=predictor.classes, probabilities=numbers)
    return answer if answer.error is not None else replace(answer, rule=predictor.rule)
