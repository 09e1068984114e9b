"""A run's network in 8 bits: quantised on training pictures, and let through only if it loses little.

The training pictures choose the ranges; the validation pictures, which have no part in that, say what it
costs. The test pictures are not touched.
"""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tellapart.data.dataset import Dataset
from tellapart.data.images import read_bytes
from tellapart.errors import ImageError, ModelError, UsageError
from tellapart.model.backbone import Backbone
from tellapart.ship.int8 import quantise
from tellapart.ship.int8_gate import Int8Gate, compare_precisions
from tellapart.ship.predictor import rule_of
from tellapart.training.embed import Embedder, embed_again
from tellapart.training.logistic import Array
from tellapart.training.run import Run

__all__ = ["int8_network"]

_CALIBRATION = 64  # pictures

Progress = Callable[[str, int, int], None]


def int8_network(
    run: Run,
    dataset: Dataset,
    max_loss: float,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Backbone, Int8Gate]:
    """The network of a run in 8 bits, and what it loses on the validation pictures, in a paired test.

    Raises ModelError where that is more than `max_loss`, a share of the pictures, or the graph cannot be
    quantised; UsageError where there are no validation pictures.
    """
    rows = dataset.rows_of("valid")
    if not len(rows):
        raise UsageError(
            f"{run.folder} has no validation pictures to measure the loss of 8 bits on. Train with --valid "
            "20%, or leave --int8 out"
        )
    report = progress or (lambda stage, done, total: None)
    plain = Embedder(run.backbone(), run.preprocess, workers=workers)
    graph = quantise(plain.backbone.graph, _prepared(run, dataset, plain, report))
    digest = hashlib.sha256(graph).hexdigest()
    network = Backbone(plain.backbone.info, graph, digest, plain.backbone.layout)
    small = Embedder(network, run.preprocess, workers=workers)
    answers = []
    for embedder in (plain, small):
        features = embed_again(
            dataset, rows, embedder, progress=lambda _, done, total: report("int8", done, total)
        )
        answers.append((run.probe.probabilities(features.values), _novelty(run, features.values)))
    (p, strange), (q, strange_now) = answers
    bound = None if run.trust is None or run.trust.novelty is None else run.trust.novelty.threshold
    gate = compare_precisions(
        p, q, dataset.targets[rows], max_loss=max_loss, float_novelty=strange,
        int8_novelty=strange_now, strange_from=bound, sure_from=rule_of(run).sure_from,
    )  # fmt: skip
    if not gate.accepted:
        raise ModelError(
            f"8 bits lose too much: {gate.sentence()}. Nothing was exported. Allow more with --max-loss, or "
            "leave --int8 out"
        )
    return network, gate


def _novelty(run: Run, features: Array) -> Array | None:
    trust = run.trust
    return None if trust is None or trust.novelty is None else trust.novelty.scores(features)


def _prepared(
    run: Run, dataset: Dataset, embedder: Embedder, report: Progress
) -> Iterator[NDArray[np.float32]]:
    """Training pictures as the network takes them, evenly over all; unusable ones are left out."""
    rows = dataset.rows_of("train")
    chosen = rows[np.linspace(0, len(rows) - 1, min(_CALIBRATION, len(rows))).astype(int)]
    for done, row in enumerate(chosen, 1):
        path = dataset.paths[row]
        try:
            picture = embedder.picture(read_bytes(dataset.root / path, path), path)
        except ImageError:
            continue
        report("calibrate", done, len(chosen))
        yield run.preprocess.apply(picture)
