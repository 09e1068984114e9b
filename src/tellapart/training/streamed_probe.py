"""The convex probe on more rows than fit in memory: the same regression, read in passes over blocks.

What is tried, and how it is judged, is as in `probe.py`: the same ladder, feature sets, folds and honest
out-of-fold choice. Of very many pictures the setting is chosen on some, `CHOSEN_ON`, with their folds;
the folds and the fit on all pictures are then solved on all rows. What it does not know: whether the
best strength for all pictures is another than for these; near the best the loss hardly depends on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tellapart.data.scratch_array import scratch_array
from tellapart.training.logistic import Array, Indices, Sketch
from tellapart.training.probe_model import (
    ALWAYS,
    FINAL_TOLERANCE,
    Candidate,
    Key,
    Probe,
    ProbeFit,
    best_setting,
    judged,
    next_rung,
)
from tellapart.training.row_blocks import (
    ArrayRows,
    Rows,
    StackedRows,
    fold_blocks,
    spread_rows,
    take_rows,
)
from tellapart.training.row_survey import Survey, survey
from tellapart.training.streamed_logistic import Fitted, Problems, scores_of, solve_streamed

__all__ = ["CHOSEN_ON", "fit_streamed"]

CHOSEN_ON: Final = 100_000
"""Rows, of pictures in all their views, that a setting is chosen on at most, but for the rounding up of
each class's share. A log loss is known there to about its deviation over pictures / √100,000, 0.003 of
it, and differences of settings on the same pictures far better."""

_MOST_NUMBERS = 1 << 27  # float32 numbers that problems solved together may hold: 512 MiB
_TOLERANCE = 1e-6  # nats; the better start makes a slope promise less of a loss than in memory
_PASSES = 30  # that a group of problems is expected to take, for showing progress

Solved = tuple[Array, Array]
"""Weights (K, D) of standardised columns, and bias (K,)."""


def fit_streamed(
    parts: Sequence[Rows],
    targets: Indices,
    classes: int,
    folds: Indices,
    widths: Mapping[str, int],
    *,
    folder: Path,
    balanced: bool = False,
    seed: int = 0,
    workers: int = 2,
    most_numbers: int = _MOST_NUMBERS,
    chosen_on: int = CHOSEN_ON,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProbeFit:
    """As `fit_probe`; `parts` are the rows of the pictures, (N, D), and of their views.

    Memory depends on D, K and `workers`, not on N, but for some numbers a picture; the chosen rows and the
    answers rest in files below `folder` where they are many. `progress` counts passes over the rows. The
    answer does not depend on `workers`. Raises DatasetError where the disk has no room.
    """
    passes = _Passes(progress, len(widths))
    some = spread_rows(targets, max(1, chosen_on // len(parts)), seed)
    every = _Data(
        parts, targets, folds, classes, int(folds.max()) + 1, balanced, seed, workers,
        max(1, min(_MOST_NUMBERS, most_numbers)), passes,
    )  # fmt: skip
    sampled = len(some) < len(targets)
    choice = _Choice(every.of(some, folder) if sampled else every, widths)
    choice.cross_validate()
    chosen = min(choice.candidates, key=lambda c: (c.log_loss, -c.strength))
    key = chosen.features, chosen.strength
    settings = choice.for_folds()
    wanted = {every.count: key, **(dict(enumerate(settings)) if sampled else {})}
    solver = _Solver(every, widths) if sampled else choice.solver
    solved = _solve_all(solver, choice, wanted)
    own = [
        solved[fold] if sampled else choice.tried[setting].at(fold)
        for fold, setting in enumerate(settings)
    ]
    out_of_fold = solver.out_of_fold(own, folder)
    weights, bias = solved[every.count]
    mean, std = (a[: widths[key[0]]] for a in (solver.survey.mean, solver.survey.std))
    probe = Probe(key[0], mean, std, np.ascontiguousarray(weights.T), bias)
    passes.end()
    return ProbeFit(
        probe, chosen, tuple(choice.candidates), out_of_fold, chosen_on=len(some), passes=passes.done
    )  # fmt: skip


class _Passes:
    """How often the rows were read, and how often they will be by what is known so far."""

    def __init__(self, report: Callable[[int, int], None], groups: int) -> None:
        self.report, self.done = report, 0
        self.expected = _PASSES * (groups + 1)
        report(0, self.expected)

    def one(self) -> None:
        self.done += 1
        self.expected = max(self.expected, self.done + 1)
        self.report(self.done, self.expected)

    def end(self) -> None:
        self.report(self.done, self.done)


@dataclass(frozen=True)
class _Data:
    """Pictures with `targets` and `folds` (n,), shown by each of `parts`."""

    parts: Sequence[Rows]
    targets: Indices
    folds: Indices
    classes: int
    count: int  # of folds
    balanced: bool
    seed: int
    workers: int
    most_numbers: int
    passes: _Passes

    @property
    def rows(self) -> Rows:
        return self.parts[0] if len(self.parts) == 1 else StackedRows(self.parts)

    def of(self, some: Indices, folder: Path) -> "_Data":
        """Of some pictures alone, copied."""
        parts = [
            ArrayRows(take_rows(part, some, folder, workers=self.workers)) for part in self.parts
        ]
        self.passes.one()
        return replace(self, parts=parts, targets=self.targets[some], folds=self.folds[some])

    def sizes(self) -> NDArray[np.float64]:
        """Pictures by fold and class, (F, K)."""
        table = np.zeros((self.count, self.classes))
        np.add.at(table, (self.folds, self.targets), 1)
        return table

    def weights_without(self, fold: int) -> NDArray[np.float64]:
        """What a picture of each class weighs (K,) where a fold is held out; `count` is none."""
        if not self.balanced:
            return np.ones(self.classes)
        sizes = self.sizes()
        own = sizes.sum(axis=0) - (sizes[fold] if fold < self.count else 0)
        there = own > 0
        weights: NDArray[np.float64] = np.zeros(self.classes)
        weights[there] = own.sum() / (np.count_nonzero(there) * own[there])
        return weights

    def score_weights(self) -> NDArray[np.float64]:
        """What a held-out picture weighs in judging a setting, by fold and class (F, K)."""
        return judged(self.sizes()) * self.weights_without(self.count)


@dataclass(frozen=True)
class _Tried:
    """A setting's weights (F + 1, K, D) and bias (F + 1, K), and by fold the loss and the errors (F,)."""

    weights: Array
    bias: Array
    loss: NDArray[np.float64]
    errors: NDArray[np.intp]

    def at(self, fold: int) -> Solved:
        return self.weights[fold], self.bias[fold]


class _Solver:
    """Problems on some data: a feature set, a strength and the fold that is held out, `count` for none."""

    def __init__(self, data: _Data, widths: Mapping[str, int]) -> None:
        self.data, self.widths = data, widths
        self.survey: Survey = survey(data.rows, data.folds, data.count, workers=data.workers)
        data.passes.one()
        self.sketches: dict[str, Sketch] = {}

    def solve(
        self,
        name: str,
        problems: Sequence[tuple[float, int]],
        tolerance: NDArray[np.float64],
        start: Solved | None = None,
    ) -> Fitted:
        """(strength, fold) each, side by side; `start` has weights (P, K, D) and bias (P, K)."""
        d, data = self.widths[name], self.data
        if name not in self.sketches:
            self.sketches[name] = self.survey.sketch(d, data.seed)
        each = data.classes * (40 * d + 8 * len(self.survey.sampled))
        at_once, found = max(1, data.most_numbers // each), []
        for first in range(0, len(problems), at_once):
            part = slice(first, first + at_once)
            found.append(
                solve_streamed(
                    self._problems(d, problems[part]), self.sketches[name], tolerance[part],
                    start=None if start is None else (start[0][part], start[1][part]),
                    workers=data.workers, on_pass=data.passes.one,
                )
            )  # fmt: skip
        return _joined(found)

    def _problems(self, d: int, problems: Sequence[tuple[float, int]]) -> Problems:
        data, views = self.data, len(self.data.parts)
        strengths, folds = (np.asarray(column) for column in zip(*problems, strict=True))
        sizes = data.sizes().sum(axis=1)
        inside = (sizes.sum() - np.append(sizes, 0)[folds]) * views
        return Problems(
            data.rows, self.survey.sample, self.survey.sampled, self.survey.mean[:d],
            data.targets, data.folds, np.where(folds < data.count, folds, -1),
            self.survey.scale[folds, :d],
            np.stack([data.weights_without(int(fold)) for fold in folds]), strengths / inside,
            data.score_weights(),
        )  # fmt: skip

    def out_of_fold(self, solved: Sequence[Solved], folder: Path) -> Array:
        """What each fold's problem says of the pictures in that fold, float32 (n, K); one pass."""
        data, d = self.data, max(weights.shape[1] for weights, _ in solved)
        weights = np.zeros((len(solved), data.classes, d), np.float32)
        for fold, (own, _) in enumerate(solved):
            width = own.shape[1]
            weights[fold, :, :width] = own * self.survey.scale[fold, :width]
        bias = np.stack([own for _, own in solved])
        answer: Array = scratch_array((len(data.targets), data.classes), folder)

        def part(where: slice, block: Array) -> None:
            z = scores_of(block - self.survey.mean[:d], weights, bias)
            own = z[:, data.folds[where], np.arange(len(block))]
            own = np.exp(own - own.max(axis=0))
            answer[where] = (own / own.sum(axis=0)).T

        for _ in fold_blocks(part, data.parts[0], columns=d, workers=data.workers, most=1 << 11):
            pass
        data.passes.one()
        return answer


class _Choice:
    """Cross-validation of all settings that are tried on some data."""

    def __init__(self, data: _Data, widths: Mapping[str, int]) -> None:
        self.data, self.solver, self.tried = data, _Solver(data, widths), dict[Key, _Tried]()
        sizes = data.sizes() * data.score_weights()
        self.weight = sizes.sum(axis=1)  # of the pictures of each fold that judge

    def cross_validate(self) -> None:
        for name in reversed(list(self.solver.widths)):
            rungs: tuple[float, ...] = tuple(strength for group in ALWAYS for strength in group)
            while rungs:
                self._try(name, rungs)
                known = {s: self.loss((n, s)) for n, s in self.tried if n == name}
                rung = next_rung(known)
                rungs = () if rung is None else (rung,)
        self.tried = dict(sorted(self.tried.items()))

    def _try(self, name: str, strengths: Sequence[float]) -> None:
        count = self.data.count
        problems = [(strength, fold) for strength in strengths for fold in range(count + 1)]
        fitted = self.solver.solve(name, problems, np.full(len(problems), _TOLERANCE))
        for i, strength in enumerate(strengths):
            rows = slice(i * (count + 1), (i + 1) * (count + 1))
            loss, errors = fitted.loss[rows][:-1], fitted.errors[rows][:-1]
            self.tried[name, strength] = _Tried(
                fitted.weights[rows], fitted.bias[rows], loss, errors
            )

    def loss(self, key: Key, without: int | None = None) -> float:
        """The mean over the pictures of all folds, or of all but one."""
        kept = np.arange(self.data.count) != (-1 if without is None else without)
        return float(self.tried[key].loss[kept].sum() / self.weight[kept].sum())

    @property
    def candidates(self) -> list[Candidate]:
        return [
            Candidate(*key, self.loss(key), int(tried.errors.sum()))
            for key, tried in self.tried.items()
        ]

    def for_folds(self) -> list[Key]:
        """For each fold the setting that did best on the others."""
        return [
            best_setting({key: self.loss(key, fold) for key in self.tried})
            for fold in range(self.data.count)
        ]


def _solve_all(solver: _Solver, choice: _Choice, wanted: Mapping[int, Key]) -> dict[int, Solved]:
    """By the fold held out, at its setting, from where the choice left off; those of one set together."""
    solved: dict[int, Solved] = {}
    for name in solver.widths:
        folds = [fold for fold, key in wanted.items() if key[0] == name]
        if not folds:
            continue
        starts = [choice.tried[wanted[fold]].at(fold) for fold in folds]
        start = np.stack([w for w, _ in starts]), np.stack([b for _, b in starts])
        last = np.asarray(folds) == solver.data.count
        fitted = solver.solve(
            name, [(wanted[fold][1], fold) for fold in folds],
            np.where(last, FINAL_TOLERANCE, _TOLERANCE), start,
        )  # fmt: skip
        solved |= {fold: (fitted.weights[i], fitted.bias[i]) for i, fold in enumerate(folds)}
    return solved


def _joined(found: Sequence[Fitted]) -> Fitted:
    return Fitted(
        np.concatenate([part.weights for part in found]),
        np.concatenate([part.bias for part in found]),
        np.concatenate([part.loss for part in found]),
        np.concatenate([part.errors for part in found]),
        sum(part.passes for part in found),
    )
