"""Which score tells "none of these" best: asked of classes that are left out of training in turn.

With K classes there are K small questions, and the answers scatter. So a fixed mean of three scores is
kept unless another one does clearly better. The left-out class is left out of everything: of the
standardisation and the leading directions too, which would know it else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from tellapart.data.ordered_map import ordered_map
from tellapart.evaluation.novelty import (
    KINDS,
    Novelty,
    NoveltyBlock,
    auroc,
    balanced_rows,
    fit_block,
)
from tellapart.training.logistic import Array, Indices

__all__ = ["fit_novelty"]

KEPT: Final = 0.99
"""The share of known pictures that is to stay below the threshold."""

FEWEST: Final = 30
"""Training pictures, below which nothing is fitted."""

_ROWS = 600  # that one fit sees, or 20 a class; the cost does not grow with the number of pictures
_QUERIES = 4000
_LEFT_OUT = 6  # at most so many questions; with more classes, several are left out together
_CLEARLY = 0.02  # of AUROC


@dataclass(frozen=True)
class _Candidate:
    """The mean of these scores, as (block, kind)."""

    name: str
    parts: frozenset[tuple[str, str]]

    def weights(self, names: Sequence[tuple[str, str]]) -> Array:
        return np.asarray([name in self.parts for name in names], np.float32) / len(self.parts)


def fit_novelty(
    features: Array,
    targets: Indices,
    folds: Indices,
    widths: Mapping[str, int],
    *,
    seed: int = 0,
    workers: int = 2,
    kept: float = KEPT,
) -> Novelty | None:
    """A score for pictures of none of the classes, chosen and scaled inside the training part.

    `features` float32 (N, D), `targets` (N,), `folds` (N,) which keep copies together, `widths` as in
    `Task`. The threshold comes from pictures that were held out; of fewer than 1 / (1 − `kept`) it is the
    largest score, which keeps a smaller share. None below 30 pictures, where a single class is left, or
    where no class can be left out because copies hold the others together.
    """
    if len(targets) < FEWEST or len(np.unique(targets)) < 2:
        return None
    from threadpoolctl import threadpool_limits  # a run that only predicts does without

    study = _Study(features, targets, _few(folds), _spans(widths), seed)
    folded, left_out = study.folded(), study.left_out()
    if not left_out or min(len(job.fit) for job in folded) < 2:
        return None  # a class that lies in one fold alone, as copies of one picture do
    with threadpool_limits(1, user_api="blas"):
        jobs = [*folded, *left_out]
        answers = list(ordered_map(study.answer, jobs, workers=workers))
        count = len(folded)
        known = np.concatenate(answers[:count])
        location, scale = _scales(known)
        chosen, facts = _choose(study, jobs[count:], answers[count:], location, scale)
        used = [any(block == name for block, _ in chosen.parts) for name in study.spans]
        spans = {
            name: span for (name, span), use in zip(study.spans.items(), used, strict=True) if use
        }
        blocks = replace(study, spans=spans).blocks(np.arange(len(targets)))
    weights = chosen.weights(study.names)
    columns = np.repeat(used, len(KINDS))
    held_out = ((known - location) / scale) @ weights
    return Novelty(
        blocks, weights[columns], location[columns], scale[columns], _upper(held_out, kept),
        min(kept, len(held_out) / (len(held_out) + 1)),
        facts,
    )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    fit: Indices
    query: Indices
    strange: Any  # bool, of the queries


@dataclass(frozen=True)
class _Study:
    features: Array
    targets: Indices
    folds: Indices
    spans: Mapping[str, slice]
    seed: int

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(block, kind) for block in self.spans for kind in KINDS]

    def folded(self) -> list[_Job]:
        """Each fold asked of the others."""
        count = int(self.folds.max()) + 1
        few = self._some(np.arange(len(self.folds)), _QUERIES)
        jobs = []
        for fold in range(count):
            query = few[self.folds[few] == fold]
            jobs.append(_Job(np.flatnonzero(self.folds != fold), query, np.zeros(len(query), bool)))
        return jobs

    def left_out(self) -> list[_Job]:
        """Some classes at a time left out, and a fold, which is asked about with them in it."""
        present = np.unique(self.targets)
        shuffled = np.random.default_rng(self.seed).permutation(present)
        count = int(self.folds.max()) + 1
        jobs = []
        for turn, classes in enumerate(np.array_split(shuffled, min(len(present), _LEFT_OUT))):
            gone, held = np.isin(self.targets, classes), self.folds == turn % count
            query = self._some(np.flatnonzero(held), _QUERIES // _LEFT_OUT)
            jobs.append(_Job(np.flatnonzero(~held & ~gone), query, gone[query]))
        return [job for job in jobs if len(job.fit) > 1 and 0 < job.strange.sum() < len(job.query)]

    def answer(self, job: _Job) -> Array:
        """The scores of the queries, (Q, 3 · blocks)."""
        asked = self.features[job.query]
        blocks = self.blocks(job.fit).values()
        return np.concatenate([block.scores(asked) for block in blocks], axis=1)

    def blocks(self, rows: Indices) -> dict[str, NoveltyBlock]:
        rows = self._some(rows, max(_ROWS, 20 * (int(self.targets.max()) + 1)))
        return {
            name: fit_block(
                self.features[rows, span], self.targets[rows], start=span.start, seed=self.seed
            )
            for name, span in self.spans.items()
        }

    def _some(self, rows: Indices, count: int) -> Indices:
        return rows[balanced_rows(self.targets[rows], count, self.seed)]


def _few(folds: Indices) -> Indices:
    """Three folds, or two, out of more."""
    return np.unique(folds % 3, return_inverse=True)[1]


def _spans(widths: Mapping[str, int]) -> dict[str, slice]:
    """The stages before the final vector, where there are any, and that vector."""
    final, every = widths["final"], widths.get("all", widths["final"])
    stages = {"stages": slice(final, every)} if every > final else {}
    return {**stages, "final": slice(0, final)}


def _scales(known: Array) -> tuple[Array, Array]:
    """Median and half the distance of the 16th and 84th percentile; a constant score counts nothing."""
    low, location, high = np.quantile(known, [0.16, 0.5, 0.84], axis=0)
    scale = (high - low) / 2
    return location.astype(np.float32), np.where(scale > 1e-9, scale, np.inf).astype(np.float32)


def _candidates(blocks: Sequence[str]) -> list[_Candidate]:
    """The first is kept where no other does clearly better."""

    def mean(name: str, kinds: Sequence[str], *of: str) -> _Candidate:
        return _Candidate(name, frozenset((block, kind) for block in of for kind in kinds))

    first = blocks[0]
    found = [mean(first, KINDS, first), mean(f"{first}, distances", KINDS[:2], first)]
    if len(blocks) > 1:
        found += [mean("all", KINDS, *blocks), mean("final", KINDS, "final")]
    return found


def _choose(
    study: _Study, jobs: Sequence[_Job], answers: Sequence[Array], location: Array, scale: Array
) -> tuple[_Candidate, dict[str, Any]]:
    """The candidate to use, and what was found."""
    candidates = _candidates(list(study.spans))
    areas = np.asarray([
        [
            auroc(value[~job.strange], value[job.strange])
            for job, answer in zip(jobs, answers, strict=True)
            for value in [((answer - location) / scale) @ candidate.weights(study.names)]
        ]
        for candidate in candidates
    ])  # fmt: skip
    areas = areas[:, np.isfinite(areas).all(axis=0)]
    asked = len(np.unique(study.targets)) > 2 and areas.shape[1] > 0
    best = 0
    if asked:
        means = areas.mean(axis=1)
        best = int(means.argmax()) if means.max() >= means[0] + _CLEARLY else 0
    facts = {
        "score": candidates[best].name,
        "left_out": areas.shape[1],
        "chosen": asked,
        "auroc": [round(float(area), 4) for area in areas[best]],
        "candidates": {
            candidate.name: round(float(row.mean()), 4) if len(row) else None
            for candidate, row in zip(candidates, areas, strict=True)
        },
    }
    return candidates[best], facts


def _upper(values: Array, kept: float) -> float:
    """What at least the share `kept` of further values lies below, or the largest where there are few."""
    ordered = np.sort(values)
    rank = min(math.ceil(kept * (len(ordered) + 1)), len(ordered))
    return float(ordered[rank - 1])
