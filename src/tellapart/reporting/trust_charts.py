"""The charts of when to believe a run: reliability, and the error among the answers."""

import numpy as np

from tellapart.evaluation.abstention import RiskCoverage, Threshold
from tellapart.evaluation.calibration import Calibration
from tellapart.reporting.charts import Chart, Frame, Line, Rule, nice_ticks, percent, span

__all__ = ["reliability_chart", "risk_chart"]

_MOST_POINTS = 120  # of a line
_FEW = 0.1  # the error of fewer answers jumps about, and does not set the scale
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def reliability_chart(found: Calibration, before: Calibration | None = None) -> Chart:
    """The share that is right by confidence, with 95 % intervals; `before` the temperature in grey."""
    parts = [*found.bins, *(before.bins if before is not None else ())]
    left = _tenth_below(min(part.confidence for part in parts))
    foot = _tenth_below(min([left, *(part.interval[0] for part in found.bins)]))
    frame = Frame((left, 1.0), (foot, 1.0))
    lines = [Line(frame.path([(b.confidence, b.accuracy) for b in found.bins]), "main")]
    if before is not None:
        lines.insert(
            0, Line(frame.path([(b.confidence, b.accuracy) for b in before.bins]), "faint")
        )
    dots = tuple(frame.dot(b.confidence, b.accuracy, b.interval, "main") for b in found.bins)
    ideal = Rule(frame.at_x(left), frame.at_y(left), frame.at_x(1.0), frame.at_y(1.0))
    legend = (("main", "as it answers"), ("faint", "before the temperature"))
    return Chart(
        f"Share of right answers by confidence. {found.sentence()}.",
        "probability that it names, %", "right, %",
        frame.ticks_x(nice_ticks(left, 1.0), factor=100),
        frame.ticks_y(nice_ticks(foot, 1.0), factor=100),
        lines=tuple(lines), dots=dots, rules=(ideal,), legend=legend if before is not None else (),
        header=("mean probability", "pictures", "right", "95 % interval"),
        table=tuple(
            (
                percent(b.confidence), f"{b.n:,}", percent(b.accuracy),
                span(*b.interval),
            )
            for b in found.bins
        ),
    )  # fmt: skip


def _tenth_below(share: float) -> float:
    return max(0.0, float(np.floor(10 * share - 0.1) / 10))


def risk_chart(curve: RiskCoverage, threshold: Threshold | None = None) -> Chart:
    """The error among the answers, the surest first; with the threshold and what it promises."""
    pairs = [
        (answered / curve.n, errors / answered)
        for answered, errors in zip(curve.answered, curve.errors, strict=True)
        if answered
    ]
    if len(pairs) > _MOST_POINTS:
        kept = np.linspace(0, len(pairs) - 1, _MOST_POINTS).round().astype(int)
        pairs = [pairs[i] for i in kept]
    target = 0.0 if threshold is None else threshold.target_error
    most = max(risk for share, risk in pairs if share >= min(_FEW, pairs[-1][0]))
    top = max(1.25 * target, 1.1 * most, 0.02)
    frame = Frame((0.0, 1.0), (0.0, top))
    rules: list[Rule] = []
    if threshold is not None:
        promise = "at most " if threshold.value is not None else ""
        rules.append(frame.across(target, f"{promise}{percent(target)} wrong"))
        if threshold.value is not None and (answered := curve.at(threshold.value)[0]):
            share = answered / curve.n
            rules.append(frame.upright(share, f"sure of {percent(share, 0)}"))
    last = pairs[-1]
    return Chart(
        f"Errors among the answers, the surest answered first: {percent(last[1])} where all are "
        "answered, fewer where the unsure ones are left out.",
        "pictures answered, the surest first, %", "wrong among them, %",
        frame.ticks_x(nice_ticks(0, 1), factor=100), frame.ticks_y(nice_ticks(0, top), factor=100),
        lines=(Line(frame.path(pairs), "main"),), rules=tuple(rules),
        header=("answered", "pictures", "wrong", "share wrong"), table=tuple(_rows(curve)),
    )  # fmt: skip


def _rows(curve: RiskCoverage) -> list[tuple[str, str, str, str]]:
    rows = {}
    for share in _SHARES:
        i = int(np.argmin(np.abs(np.asarray(curve.answered) / curve.n - share)))
        n, wrong = curve.answered[i], curve.errors[i]
        if n:
            rows[n] = (percent(n / curve.n, 0), f"{n:,}", f"{wrong:,}", percent(wrong / n))
    return list(rows.values())
