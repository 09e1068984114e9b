"""When to believe a run, as a picture: a reliability diagram, and the error among the answers it keeps.

Drawing only draws. Needs matplotlib, which is loaded when drawn.
"""

from typing import TYPE_CHECKING

import numpy as np

from tellapart.evaluation.abstention import RiskCoverage, Threshold
from tellapart.evaluation.calibration import Calibration
from tellapart.evaluation.figures import row_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_trust"]

_BEFORE, _AFTER = "#b0b0b0", "#1f6feb"


def plot_trust(
    before: Calibration,
    after: Calibration,
    temperature: float,
    curve: RiskCoverage,
    threshold: Threshold,
) -> "Figure":
    """Two plots: accuracy by confidence before and after the temperature; error by the share answered."""
    figure, (left, right) = row_of_axes(2)
    left.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    _reliability(left, before, _BEFORE, "before")
    _reliability(left, after, _AFTER, f"at temperature {temperature:.2f}")
    bins = (*before.bins, *after.bins)
    lowest = min(part.confidence for part in bins)
    left.set_xlim(max(0.0, lowest - 0.03), 1.01)
    worst = min(part.interval[0] for part in bins)
    left.set_ylim(max(0.0, min(worst, lowest) - 0.03), 1.02)
    left.set_title("Do confidences mean what they say?", fontsize=10)
    left.set_xlabel("mean probability of the class named")
    left.set_ylabel("share that is right, 95 % interval")
    left.legend(fontsize=8, loc="lower right")
    _risk(right, curve, threshold)
    return figure


def _reliability(axes: "Axes", found: Calibration, colour: str, name: str) -> None:
    confidence = [part.confidence for part in found.bins]
    accuracy = np.array([part.accuracy for part in found.bins])
    low, high = np.array([part.interval for part in found.bins]).T
    axes.errorbar(
        confidence, accuracy, np.maximum([accuracy - low, high - accuracy], 0), color=colour,
        marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.8,
        label=f"{name}: error {found.debiased_error:.3f}",
    )  # fmt: skip


def _risk(axes: "Axes", curve: RiskCoverage, threshold: Threshold) -> None:
    answered, errors = np.asarray(curve.answered), np.asarray(curve.errors)
    some = answered > 0
    axes.plot(100 * answered[some] / curve.n, 100 * errors[some] / answered[some], color=_AFTER)
    axes.axhline(100 * threshold.target_error, color="black", linewidth=0.8, linestyle=":")
    if threshold.value is not None and threshold.answered:
        share = 100 * threshold.answered / threshold.n
        axes.axvline(share, color="black", linewidth=0.8)
        axes.annotate(
            f"answers from {threshold.value:.2f} on:\n{share:.0f} % of the pictures",
            (share, 100 * threshold.target_error), textcoords="offset points", xytext=(-6, -26),
            ha="right", fontsize=8,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_title("How often is an answer wrong?", fontsize=10)
    axes.set_xlabel("pictures answered, the surest first, %")
    axes.set_ylabel("errors among them, %")
