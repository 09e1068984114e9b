"""`tellapart predict`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from tellapart.cli.messages import progress_bars
from tellapart.cli.options import Address, Engine, Quiet, Workers
from tellapart.data.plain_text import plain

if TYPE_CHECKING:
    from tellapart.ship.predict_to import Answered
    from tellapart.ship.prediction import Prediction

__all__ = ["predict", "print_predictions"]

_MOST_LABELS = 20


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or an exported file.")],
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders, patterns or URLs; - reads paths from standard input."
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="A CSV or Parquet table whose column path, name, url or file names them."
        ),
    ] = None,
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
    out: Annotated[
        str | None,
        typer.Option(
            help="A folder or URL for the answers, in files; the same command again does what is missing."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="Of these files: jsonl or parquet.")] = "jsonl",
    rows: Annotated[int, typer.Option(min=1, help="Answers in each of these files.")] = 1024,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where --out holds other answers.")
    ] = False,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
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

        tellapart predict photos.onnx --table scans.parquet --out answers --format parquet

        tellapart predict photos.onnx s3://scans/ --out s3://answers/ --engine ray --address auto
    """
    from tellapart.errors import UsageError
    from tellapart.evaluation.share import parse_share
    from tellapart.ship.input_table import TABLES
    from tellapart.ship.inputs import find_pictures
    from tellapart.ship.predict_to import answers_to, predict_to
    from tellapart.ship.predictor import load

    if json and csv:
        raise UsageError("--json and --csv exclude each other; choose one")
    if (json or csv) and out is not None:
        raise UsageError("--json and --csv print the answers; with --out, choose --format")
    if bool(paths) == (table is not None):
        raise UsageError("name pictures, or a --table of them")
    if table is not None and not table.lower().endswith(TABLES):
        raise UsageError(f"{table}: the name of a --table ends in {' or '.join(TABLES)}")
    share = None if target_error is None else parse_share(target_error)
    predictor = load(model, runtime=runtime, workers=workers, target_error=share)
    sources = table or find_pictures(paths or (), _standard_input())
    where: dict[str, Any] = {"engine": engine, "address": address, "workers": workers}
    if out is not None:
        with progress_bars(quiet) as progress:
            done = predict_to(
                predictor, sources, out, format=format, rows=rows, overwrite=overwrite,
                progress=progress, **where,
            )  # fmt: skip
        n, failed = done.rows, done.failed
        if not quiet:
            _print_done(done)
    else:
        answers = answers_to(predictor, sources, **where, prompt="-" in (paths or ()))
        form = "json" if json else "csv" if csv else "table"
        n, failed = print_predictions(answers, predictor.classes, form=form, top=top)
    if failed and not quiet:
        sys.stderr.write(f"{failed:,} of {n:,} pictures could not be used.\n")
    raise typer.Exit(3 if failed else 0)


def _standard_input() -> BinaryIO | None:
    """Unbuffered: a line is read when it is there, and no lock is held while none is."""
    if sys.stdin is None:
        return None
    buffered = sys.stdin.buffer
    return getattr(buffered, "raw", buffered)


def _print_done(done: "Answered") -> None:
    kept = f", {done.kept:,} of them kept from before" if done.kept else ""
    files = "1 file" if done.parts == 1 else f"{done.parts:,} files"
    sys.stdout.write(f"{done.rows:,} answers in {files} in {plain(done.out)}{kept}\n")
    counts = sorted(done.labels.items(), key=lambda item: -item[1])
    for label, n in counts[:_MOST_LABELS]:
        sys.stdout.write(f"{n:>12,}  {plain(label)}\n")
    if len(counts) > _MOST_LABELS:
        sys.stdout.write(f"{'':>12}  and {len(counts) - _MOST_LABELS:,} more, in done.json\n")


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
