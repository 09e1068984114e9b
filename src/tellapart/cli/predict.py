"""`tellapart predict`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tellapart.cli.options import Quiet, Workers
from tellapart.data.plain_text import plain

if TYPE_CHECKING:
    from tellapart.ship.prediction import Prediction

__all__ = ["predict", "print_predictions"]


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or an exported file.")],
    paths: Annotated[
        list[str],
        typer.Argument(help="Pictures, folders or patterns; - reads paths from standard input."),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a column per class.")] = False,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime or openvino; by default the run's own, for a file onnxruntime."
        ),
    ] = None,
    target_error: Annotated[
        str | None,
        typer.Option(
            help="How many of the answers called sure may be wrong, as 2% or 0.02; by default as the "
            "run was trained for."
        ),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Tell what new pictures show.

    A picture that cannot be used gets a row that says why, and the exit status is 3; the others are
    answered.

    Examples:

        tellapart predict runs/photos new.jpg

        tellapart predict photos.onnx new.jpg

        tellapart predict runs/photos inbox/ "scans/*.png" --top 3

        find . -name "*.jpg" | tellapart predict runs/photos - --json
    """
    from tellapart.errors import UsageError
    from tellapart.evaluation.share import parse_share
    from tellapart.ship.inputs import find_pictures
    from tellapart.ship.predictor import load

    if json and csv:
        raise UsageError("--json and --csv exclude each other; choose one")
    share = None if target_error is None else parse_share(target_error)
    predictor = load(model, runtime=runtime, workers=workers, target_error=share)
    sources = find_pictures(paths, sys.stdin.buffer if sys.stdin else None)
    answers = predictor.predict_many(sources)
    form = "json" if json else "csv" if csv else "table"
    n, failed = print_predictions(answers, predictor.classes, form=form, top=top)
    if failed and not quiet:
        sys.stderr.write(f"{failed} of {n} pictures could not be used.\n")
    raise typer.Exit(3 if failed else 0)


def print_predictions(
    answers: "Iterable[Prediction]", classes: tuple[str, ...], *, form: str, top: int
) -> tuple[int, int]:
    """Print answers as they come; returns how many there were and how many failed."""
    writers = {"json": _json_lines, "csv": _csv_lines, "table": _table_lines}
    n = failed = 0

    def counted() -> "Iterator[Prediction]":
        nonlocal n, failed
        for answer in answers:
            n += 1
            failed += answer.error is not None
            yield answer

    writers[form](counted(), classes, top, sys.stdout)
    return n, failed


def _json_lines(
    answers: "Iterable[Prediction]", classes: tuple[str, ...], top: int, out: TextIO
) -> None:
    from json import dumps

    for answer in answers:
        out.write(dumps(answer.to_json()) + "\n")
        out.flush()


def _csv_lines(
    answers: "Iterable[Prediction]", classes: tuple[str, ...], top: int, out: TextIO
) -> None:
    from tellapart.data.csv_lines import csv_lines

    header = ["path", "label", "probability", "verdict", "reason", "error"]
    header += [f"p_{name}" for name in classes]
    out.writelines(csv_lines([header]))
    for answer in answers:
        row = [answer.path, answer.label, "", answer.verdict, answer.reason, answer.error]
        row += ["" for _ in classes]
        if answer.error is None:
            row[2] = f"{answer.probability:.6f}"
            row[6:] = [f"{p:.6f}" for p in answer.probabilities]
        out.writelines(csv_lines([row]))
        out.flush()


def _table_lines(
    answers: "Iterable[Prediction]", classes: tuple[str, ...], top: int, out: TextIO
) -> None:
    """Columns of fixed width, so that rows appear as they are computed."""
    width = min(max(len(plain(name)) for name in (*classes, "class")), 32)
    for i, answer in enumerate(answers):
        if i == 0:
            out.write(f"{'class':<{width}}  probability  verdict   picture\n")
        path = plain(answer.path)
        if answer.error is not None:
            out.write(f"{'–':<{width}}  {'–':>11}  {'error':<8}  {path}: {plain(answer.error)}\n")
        for rank, (name, probability) in enumerate(answer.top(top)):
            share, verdict = f"{100 * probability:.1f} %", _WORDS.get(answer.verdict or "", "")
            tail = f"{verdict:<8}  {path}" if rank == 0 else ""
            out.write(f"{plain(name):<{width}}  {share:>11}  {tail}".rstrip() + "\n")
        out.flush()


_WORDS = {"sure": "sure", "not_sure": "not sure", "none_of_these": "none"}
