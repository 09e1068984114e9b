"""When to believe a run, as a picture: a reliability diagram, and the error among the answers it keeps.

Drawing only draws. Needs matplotlib, which is loaded when drawn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tellapart.evaluation.abstention import RiskCoverage, Threshold
from tellapart.evaluation.calibration import Calibration
from tellapart.evaluation.figures import row_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_reliability", "plot_risk_coverage", "plot_trust"]

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
    _reliability(left, [("before", before), (f"at temperature {temperature:.2f}", after)])
    _risk(right, curve, threshold)
    return figure


def plot_reliability(found: Calibration, before: Calibration | None = None) -> "Figure":
    """Accuracy by confidence, alone; in grey how it was before the temperature, where that is known."""
    figure, (axes,) = row_of_axes(1)
    named = (
        [("as answered", found)] if before is None else [("before", before), ("as answered", found)]
    )
    _reliability(axes, named)
    return figure


def plot_risk_coverage(curve: RiskCoverage, threshold: Threshold | None = None) -> "Figure":
    """The error among the answers by the share answered, alone."""
    figure, (axes,) = row_of_axes(1)
    _risk(axes, curve, threshold)
    return figure


def _reliability(axes: "Axes", named: Sequence[tuple[str, Calibration]]) -> None:
    """The last one is drawn in colour."""
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    for i, (name, found) in enumerate(named):
        _errorbars(axes, found, _AFTER if i == len(named) - 1 else _BEFORE, name)
    bins = [part for _, found in named for part in found.bins]
    lowest = min(part.confidence for part in bins)
    axes.set_xlim(max(0.0, lowest - 0.03), 1.01)
    worst = min(part.interval[0] for part in bins)
    axes.set_ylim(max(0.0, min(worst, lowest) - 0.03), 1.02)
    axes.set_title("Do confidences mean what they say?", fontsize=10)
    axes.set_xlabel("mean probability of the class named")
    axes.set_ylabel("share that is right, 95 % interval")
    axes.legend(fontsize=8, loc="lower right")


def _errorbars(axes: "Axes", found: Calibration, colour: str, name: str) -> None:
    confidence = [part.confidence for part in found.bins]
    accuracy = np.array([part.accuracy for part in found.bins])
    low, high = np.array([part.interval for part in found.bins]).T
    axes.errorbar(
        confidence, accuracy, np.maximum([accuracy - low, high - accuracy], 0), color=colour,
        marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.8,
        label=f"{name}: error {found.debiased_error:.3f}",
    )  # fmt: skip


def _risk(axes: "Axes", curve: RiskCoverage, threshold: Threshold | None) -> None:
    answered, errors = np.asarray(curve.answered), np.asarray(curve.errors)
    some = answered > 0
    axes.plot(100 * answered[some] / curve.n, 100 * errors[some] / answered[some], color=_AFTER)
    if threshold is not None:
        _promise(axes, curve, threshold)
    axes.set_ylim(bottom=0)
    axes.set_title("How often is an answer wrong?", fontsize=10)
    axes.set_xlabel("pictures answered, the surest first, %")
    axes.set_ylabel("errors among them, %")


def _promise(axes: "Axes", curve: RiskCoverage, threshold: Threshold) -> None:
    """What may be wrong, and how many of the curve's pictures are answered then."""
    axes.axhline(100 * threshold.target_error, color="black", linewidth=0.8, linestyle=":")
    if threshold.value is None or not (answered := curve.at(threshold.value)[0]):
        return
    share = 100 * answered / curve.n
    axes.axvline(share, color="black", linewidth=0.8)
    axes.annotate(
        f"answers from {threshold.value:.2f} on:\n{share:.0f} % of the pictures",
        (share, 100 * threshold.target_error), textcoords="offset points", xytext=(-6, -26),
        ha="right", fontsize=8,
    )  # fmt: skip
