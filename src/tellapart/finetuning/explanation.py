"""What a finished stage of training shows, in plain sentences from measured facts.

Each finding has a rule that its function states; a healthy stage has none. The thresholds were set on
simulated healthy histories (tests/finetuning/test_explanation.py), of which at most 2 % may get a
finding. The rules see numbers alone: they do not know whether labels are right, nor whether the
validation pictures resemble those that the network will meet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tellapart.evaluation.metrics import wilson_interval
from tellapart.evaluation.paired import exact_p_value, mcnemar

__all__ = ["FIELDS", "Epoch", "Explanation", "StageOutcome", "explain"]

FIELDS = ("epoch", "train_loss", "valid_loss", "errors", "n", "seconds", "lr")
"""What a file with the table holds of each row."""

_SIGNIFICANT = 0.05
_FEW_ERRORS = 5  # so few that a better network may well leave the count as it is
_STILL = 0.02  # a validation loss that changes by less, relatively, over a stage hardly moves
_STILL_TRAINING = 0.05
_NEARLY_NONE = 0.01  # an error rate that is surely below is nearly 0


@dataclass(frozen=True)
class Epoch:
    """One row of the table: losses in nats, `errors` of `n` ≥ 1 validation images, time in seconds.

    `lr` is the highest learning rate of the last layer group. The counts, one per class, say how
    many validation images were predicted as it and how many are of it, where known.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    errors: int
    n: int
    seconds: float
    lr: float
    predicted_counts: tuple[int, ...] | None = None
    true_counts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class StageOutcome:
    """A stage by its end: `correct`, bool (N,), in the order of the validation images."""

    name: str
    correct: NDArray[Any]
    valid_loss: float


@dataclass(frozen=True)
class Explanation:
    """A finding: its kind, what was measured, and what to do next."""

    kind: str
    sentence: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.next_step}"


def explain(
    history: Sequence[Epoch],
    before: StageOutcome | None = None,
    after: StageOutcome | None = None,
    *,
    classes: Sequence[str] = (),
) -> list[Explanation]:
    """The findings for a stage of one or more epochs, causes before effects; a healthy one has none.

    With `before` and `after`, an earlier stage's and this one's outcome on the same images, it also
    says whether they differ. `classes` are the names behind the counts. Raises ValueError for an
    empty history, for n below 1, and for outcomes of different images.

    >>> counts = [40, 1, 1, 1]
    >>> losses = [(0.736, 0.621), (0.421, 0.047), (0.297, 0.016), (0.223, 0.012)]
    >>> for found in explain([Epoch(i, *losses[i], counts[i], 105, 3.0, 3e-3) for i in range(4)]):
    ...     print(found.kind)
    ...     print(found.sentence)
    granularity
    The error count is 1 of 105 in each of the last 3 epochs, 95 % interval 0.2–5.2 %: one image is \
0.95 %, and the error rate cannot show less, while the validation loss went from 0.047 to 0.012.
    """
    if not history or any(row.n < 1 for row in history):
        raise ValueError(f"{len(history)} epochs; expected at least 1, each with 1 image or more")
    if (before is None) != (after is None):
        raise ValueError("expected the outcomes of both stages or of none")
    found = [_diverged(history)]
    if found == [None]:
        too_low, collapsed = _rate_too_low(history), _collapsed(history, classes)
        found = [too_low, collapsed]
        if too_low is None and collapsed is None:  # they explain a constant error rate already
            found += [_granularity(history), _saturated(history), _overfitting(history)]
    if before is not None and after is not None:
        compared = _compared(before, after)
        found += [compared, _stop_here(compared, before, after)]
    return [finding for finding in found if finding is not None]


def _rate(errors: int, n: int) -> str:
    """ "1 of 105, 95 % interval 0.2–5.2 %"."""
    low, high = wilson_interval(errors, n)
    return f"{errors:,} of {n:,}, 95 % interval {100 * low:.1f}–{100 * high:.1f} %"


def _diverged(history: Sequence[Epoch]) -> Explanation | None:
    """A loss is not finite, or training ends at 1.5 times the loss of its first epoch."""
    next_step = (
        "Go back to the stage before, and train with a rate ten times lower: lr_find suggests one."
    )
    for row in history:
        if not (math.isfinite(row.train_loss) and math.isfinite(row.valid_loss)):
            sentence = (
                f"In epoch {row.epoch} a loss was no longer finite (train {row.train_loss}, validation "
                f"{row.valid_loss}) at a rate of {row.lr:.1e}: training diverged."
            )
            return Explanation("diverged", sentence, next_step)
    first, last = history[0].train_loss, history[-1].train_loss
    if last <= 1.5 * first or last - first < 0.1:
        return None
    sentence = (
        f"The training loss rose from {first:.3f} to {last:.3f} over {len(history)} epochs at a rate of "
        f"{history[-1].lr:.1e}: training diverged."
    )
    return Explanation("diverged", sentence, next_step)


def _rate_too_low(history: Sequence[Epoch]) -> Explanation | None:
    """In two epochs or more the validation loss stays within 2 %, and the training loss, which
    augmentation makes noisier, within 5 %, while the validation loss is above half of what guessing
    by the classes' shares costs."""
    first, last = history[0], history[-1]
    still = (
        _relative_range([row.valid_loss for row in history]) <= _STILL
        and _relative_range([row.train_loss for row in history]) <= _STILL_TRAINING
    )
    if len(history) < 2 or not still or last.valid_loss <= 0.5 * _guessing_loss(last):
        return None
    fall = max(first.train_loss - last.train_loss, first.valid_loss - last.valid_loss)
    wanted = max(0.5 * first.train_loss, 1e-12) / max(fall, 1e-12)
    factor = 10 ** round(min(max(math.log10(wanted), 1), 3))
    sentence = (
        f"In {len(history)} epochs at a rate of {last.lr:.1e} the losses hardly moved: train from "
        f"{first.train_loss:.3f} to {last.train_loss:.3f}, validation from {first.valid_loss:.3f} to "
        f"{last.valid_loss:.3f}, with {_rate(last.errors, last.n)} wrong: the rate is too low."
    )
    next_step = (
        f"Run lr_find; about {factor:,} times the rate, {factor * last.lr:.0e}, may be right."
    )
    return Explanation("rate_too_low", sentence, next_step)


def _relative_range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / max(values[0], 1e-12)


def _guessing_loss(row: Epoch) -> float:
    """The entropy of the classes in nats; that of two equal classes where the counts are unknown."""
    if row.true_counts is None:
        return math.log(2)
    shares = np.asarray(row.true_counts, np.float64) / max(sum(row.true_counts), 1)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _collapsed(history: Sequence[Epoch], classes: Sequence[str]) -> Explanation | None:
    """The last epoch predicts one class for all images, or all images are of one class."""
    row = history[-1]
    true, predicted = row.true_counts, row.predicted_counts
    if true is not None and np.count_nonzero(true) == 1:
        name = _class_name(true, classes)
        return Explanation(
            "collapsed",
            f"All {row.n:,} validation images are labelled {name}: the error rate, "
            f"{_rate(row.errors, row.n)}, says nothing about telling classes apart.",
            "Check the folders or labels, and split so that every class is in the validation part.",
        )
    if predicted is None or np.count_nonzero(predicted) != 1:
        return None
    return Explanation(
        "collapsed",
        f"All {row.n:,} validation images are predicted as {_class_name(predicted, classes)}, and "
        f"{_rate(row.errors, row.n)} are wrong: the network does not tell the classes apart.",
        "Check that the labels are right and no class is rare, then train with a rate from lr_find.",
    )


def _class_name(counts: Sequence[int], classes: Sequence[str]) -> str:
    index = int(np.argmax(counts))
    return f'"{classes[index]}"' if index < len(classes) else f"class {index}"


def _constant(history: Sequence[Epoch]) -> Sequence[Epoch]:
    """The last epochs, all with one error count; at least three, or the whole stage of two."""
    errors = history[-1].errors
    start = len(history) - 1
    while start > 0 and history[start - 1].errors == errors:
        start -= 1
    same = history[start:]
    return same if len(same) >= 3 or (len(same) == len(history) == 2) else ()


def _granularity(history: Sequence[Epoch]) -> Explanation | None:
    """A constant count of 1 to 5 errors, which the change of the loss would move by less than one
    image. Larger counts that stay are chance, and say nothing."""
    same = _constant(history)
    if not same or not 1 <= same[-1].errors <= _FEW_ERRORS:
        return None
    row, start, end = same[-1], same[0].valid_loss, same[-1].valid_loss
    if row.errors * abs(start - end) / max(start, end, 1e-12) >= 1:
        return None
    sentence = (
        f"The error count is {row.errors} of {row.n:,} in each of the last {len(same)} epochs, "
        f"{_rate(row.errors, row.n).partition(', ')[2]}: one image is {100 / row.n:.2g} %, and the error "
        f"rate cannot show less, while the validation loss went from {start:.3f} to {end:.3f}."
    )
    next_step = "Compare stages by the validation loss, or cross-validate to count all images."
    return Explanation("granularity", sentence, next_step)


def _saturated(history: Sequence[Epoch]) -> Explanation | None:
    """No error in the last two epochs, or an error rate surely below 1 % that moves by at most two
    images, while the validation loss still falls by a tenth."""
    if len(history) < 2:
        return None
    one, row = history[-2:]
    few = max(one.errors, row.errors) <= 2 and (
        row.errors == one.errors == 0 or wilson_interval(row.errors, row.n)[1] < _NEARLY_NONE
    )
    if not few or _granularity(history) or row.valid_loss > 0.9 * one.valid_loss:
        return None
    sentence = (
        f"The error rate has nothing left to show: {_rate(row.errors, row.n)}. The validation loss "
        f"still falls, from {one.valid_loss:.4f} to {row.valid_loss:.4f} in the last epoch."
    )
    next_step = "Judge by the validation loss, or stop: a difference needs more validation images."
    return Explanation("saturated", sentence, next_step)


def _overfitting(history: Sequence[Epoch]) -> Explanation | None:
    """Over the last two epochs or more the validation loss rises each time, by 15 % or more in all and
    to 10 % above its lowest of the stage, while the training loss falls each time."""
    start = len(history) - 1
    while start > 0 and _parts(history[start - 1], history[start]):
        start -= 1
    best, row, k = history[start], history[-1], len(history) - 1 - start
    lowest = min(e.valid_loss for e in history)
    if k < 2 or row.valid_loss < max(1.15 * best.valid_loss, 1.1 * lowest, best.valid_loss + 0.01):
        return None
    more = row.errors - best.errors
    verdict = f"{best.errors:,} of {row.n:,} images were wrong then and {row.errors:,} are now"
    if more <= 0:
        verdict += ": only the probabilities suffer, they are too sure."
    elif exact_p_value(more, 0) >= _SIGNIFICANT:
        verdict += ", which may be chance."
    else:
        verdict += ": it matters."
    sentence = (
        f"For {k} epochs the training loss fell, from {best.train_loss:.3f} to {row.train_loss:.3f}, while "
        f"the validation loss rose, from {best.valid_loss:.3f} to {row.valid_loss:.3f}; {verdict}"
    )
    next_step = (
        f"Train again with {len(history) - k} epochs, with more augmentation, or stop early."
    )
    return Explanation("overfitting", sentence, next_step)


def _parts(one: Epoch, other: Epoch) -> bool:
    """Whether training and validation loss part between two epochs."""
    return other.train_loss < one.train_loss and other.valid_loss > one.valid_loss


def _compared(before: StageOutcome, after: StageOutcome) -> Explanation:
    """Better, worse or neither, by McNemar's exact test at 5 %."""
    lost, won, p = mcnemar(before.correct, after.correct)
    n, was = len(before.correct), int((~np.asarray(before.correct, bool)).sum())
    now = was + lost - won
    counts = (
        f"{now:,} of {n:,} validation images are wrong, after {was:,} in {before.name}: {won:,} became "
        f"right and {lost:,} wrong (McNemar p = {p:.2g})"
    )
    if p < _SIGNIFICANT and won > lost:
        return Explanation("better", f"This stage is better: {counts}.", f"Keep {after.name}.")
    if p < _SIGNIFICANT:
        return Explanation(
            "worse", f"This stage is worse: {counts}.",
            f"Go back to {before.name}, and train with a lower rate.",
        )  # fmt: skip
    sentence = f"The stages do not differ: {counts}."
    if exact_p_value(was, 0) >= _SIGNIFICANT:
        word = "error" if was == 1 else "errors"
        sentence += f" With {was} {word} before, {n:,} images cannot show an improvement; it takes 6 or more."
    kept = after.name if _loss_fell(before, after) else before.name
    return Explanation(
        "no_better", sentence,
        f"Keep {kept}: the validation loss is {before.valid_loss:.3f} in {before.name} and "
        f"{after.valid_loss:.3f} in {after.name}.",
    )  # fmt: skip


def _loss_fell(before: StageOutcome, after: StageOutcome) -> bool:
    """By 5 % or more."""
    return after.valid_loss < 0.95 * before.valid_loss


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def _stop_here(
    compared: Explanation, before: StageOutcome, after: StageOutcome
) -> Explanation | None:
    """A stage that is no better by its errors, nor by 5 % of the validation loss."""
    if compared.kind != "no_better" or _loss_fell(before, after):
        return None
    n, wrong = len(before.correct), int((~np.asarray(before.correct, bool)).sum())
    sentence = (
        f"{_capital(before.name)} is enough: {_rate(wrong, n)} are wrong, and another stage improved neither "
        f"that nor the validation loss, {before.valid_loss:.3f} before and {after.valid_loss:.3f} now."
    )
    next_step = f"Stop here with {before.name}; try more images rather than more epochs."
    return Explanation("stop_here", sentence, next_step)
