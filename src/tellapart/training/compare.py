"""Two runs or stages by the same pictures: is one better, or may the difference be chance?"""

import os
from dataclasses import dataclass

import numpy as np

from tellapart.errors import UsageError
from tellapart.evaluation.paired import mcnemar
from tellapart.training.run import Run

__all__ = ["Comparison", "compare"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Of `n` pictures `won` became right and `lost` wrong; `p_value` of McNemar's exact test, in [0, 1]."""

    n: int
    won: int
    lost: int
    p_value: float

    @property
    def differ(self) -> bool:
        """Whether chance alone would do this in fewer than one of twenty cases."""
        return self.p_value < _SIGNIFICANT

    def sentence(self) -> str:
        """In one line.

        >>> Comparison(100, 6, 1, 0.125).sentence()
        'of 100 pictures 6 became right and 1 wrong: no difference is shown (McNemar p = 0.12)'
        """
        better = "better" if self.won > self.lost else "worse"
        verdict = f"the second is {better}" if self.differ else "no difference is shown"
        return (
            f"of {self.n} pictures {self.won} became right and {self.lost} wrong: {verdict} "
            f"(McNemar p = {self.p_value:.2g})"
        )


def compare(before: Run, after: Run, split: str | None = None) -> Comparison:
    """Compare the answers of two runs to the pictures of a split, or to all that both have predicted.

    Pictures are the same where their files are, or where none is, by their paths below the data's root.
    Training pictures count where both predicted them out-of-fold, which stages do not. Raises UsageError
    where they share no picture.

    >>> compare(Run.load("runs/a"), Run.load("runs/b"), "valid").sentence()  # doctest: +SKIP
    'of 100 pictures 6 became right and 1 wrong: no difference is shown (McNemar p = 0.12)'
    """
    for whole in (True, False):
        right = [_right_by_path(run, split, whole=whole) for run in (before, after)]
        if shared := sorted(right[0].keys() & right[1].keys()):
            first, second = (
                np.asarray([answers[path] for path in shared], bool) for answers in right
            )
            lost, won, p = mcnemar(first, second)
            return Comparison(len(shared), won, lost, p)
    raise UsageError(f"{before.folder} and {after.folder} have no picture in common")


def _right_by_path(run: Run, split: str | None, *, whole: bool) -> dict[str, bool]:
    """Whether each answer was right, by the picture's whole path, or by that below the data's root."""
    root = run.info["dataset"]["root"] if whole else ""
    return {
        os.path.normpath(os.path.join(root, row[0])): row[2] == row[3]  # noqa: PTH118  # of text
        for row in run.predictions()
        if split in (None, row[1])
    }
