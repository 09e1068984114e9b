"""The charts of how it was trained, and of what more pictures would bring."""

import csv
from dataclasses import dataclass

import numpy as np

from tellapart.audit.learning_curve import LearningCurve
from tellapart.reporting.charts import Chart, Frame, Line, nice_ticks, percent, span
from tellapart.training.run import Run

__all__ = ["EpochRow", "history_chart", "learning_chart", "read_epochs"]

_STEPS = 40
_MOST_EPOCHS = 200  # rows of a table


@dataclass(frozen=True)
class EpochRow:
    """One epoch: losses in nats, `errors` of `n` validation pictures, seconds."""

    epoch: int
    train_loss: float
    valid_loss: float
    errors: int
    n: int
    seconds: float


def read_epochs(run: Run) -> list[EpochRow]:
    """The rows of its history.csv; none where it was not trained in epochs or they cannot be read."""
    try:
        with (run.folder / "history.csv").open(encoding="utf-8", newline="") as file:
            return [
                EpochRow(
                    int(float(row["epoch"])), float(row["train_loss"]), float(row["valid_loss"]),
                    int(float(row["errors"])), int(float(row["n"])), float(row["seconds"]),
                )
                for row in csv.DictReader(file)
            ]  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError):
        return []


def history_chart(rows: list[EpochRow]) -> Chart | None:
    """Both losses by epoch, and the table; None for less than two epochs with finite losses."""
    shown = [r for r in rows if np.isfinite(r.train_loss) and np.isfinite(r.valid_loss)]
    if len(shown) < 2:
        return None
    top = 1.08 * max(max(r.train_loss, r.valid_loss) for r in shown) or 1.0
    first, last = shown[0].epoch, shown[-1].epoch
    frame = Frame((first, last), (0.0, top))
    train = [(r.epoch, r.train_loss) for r in shown]
    valid = [(r.epoch, r.valid_loss) for r in shown]
    epochs = [tick for tick in nice_ticks(first, last, 8) if float(tick).is_integer()]
    return Chart(
        f"Losses over {len(shown)} epochs: training from {train[0][1]:.3f} to {train[-1][1]:.3f}, "
        f"validation from {valid[0][1]:.3f} to {valid[-1][1]:.3f}.",
        "epoch", "loss, nats",
        frame.ticks_x(epochs, "{:.0f}"), frame.ticks_y(nice_ticks(0, top)),
        lines=(Line(frame.path(train), "faint"), Line(frame.path(valid), "main")),
        legend=(("main", "validation"), ("faint", "training")),
        header=("epoch", "training loss", "validation loss", "wrong", "seconds"),
        table=tuple(
            (
                str(r.epoch), f"{r.train_loss:.4f}", f"{r.valid_loss:.4f}", f"{r.errors:,} of {r.n:,}",
                f"{r.seconds:.1f}",
            )
            for r in shown[:_MOST_EPOCHS]
        ),
    )  # fmt: skip


def learning_chart(curve: LearningCurve) -> Chart:
    """The error by the number of training pictures, up to four times as many as there are."""
    first, last = curve.points[0].pictures, 4 * curve.pictures
    sizes = np.geomspace(first, last, _STEPS).tolist()
    law = [(size, curve.at(size)) for size in sizes]
    top = 1.1 * max(max(e.high for _, e in law), max(p.error for p in curve.points), 0.01)
    frame = Frame((first, last), (0.0, top), log_x=True)
    band = frame.area([(s, e.high) for s, e in law], [(s, e.low) for s, e in law])
    doublings = [curve.pictures * 2.0**power for power in range(-4, 3)]
    sizes_named = [size for size in doublings if first <= size <= last]
    estimates = [curve.at(factor * curve.pictures) for factor in (1, 2, 4)]
    measured = [(p, "measured") for p in curve.points]
    return Chart(
        f"Error rate by the number of training pictures: {curve.sentence()}.",
        "training pictures", "error rate, %",
        frame.ticks_x(sizes_named, "{:,.0f}"), frame.ticks_y(nice_ticks(0, top), factor=100),
        bands=(Line(band, "main"),), lines=(Line(frame.path([(s, e.error) for s, e in law]), "main"),),
        dots=tuple(frame.dot(p.pictures, p.error, (p.error, p.error), "main") for p in curve.points),
        rules=(frame.upright(curve.pictures, "now"),),
        header=("training pictures", "error rate", "90 % band", ""),
        table=tuple(
            (f"{e.pictures:,}", percent(e.error), span(e.low, e.high), how)
            for e, how in [*measured, *((e, "estimated") for e in estimates)]
        ),
    )  # fmt: skip
