"""`tellapart export`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Json, Quiet, Workers
from tellapart.data.plain_text import plain
from tellapart.errors import UsageError

if TYPE_CHECKING:
    from tellapart.ship.export import Exported

__all__ = ["export"]


def export(
    target: Annotated[
        Path, typer.Argument(help="A run or stage; with --verify also an exported file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; by default model.onnx in the run's folder."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Write nothing: does the file answer on this machine as where it was exported?",
        ),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits: a quarter of the size, and faster.")
    ] = False,
    max_loss: Annotated[
        str | None,
        typer.Option(
            help="With --int8: how much of the accuracy may be lost, as 1% (the default) or 0.01."
        ),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help="Also a file that takes prepared pictures, many at a time."),
    ] = None,
    web: Annotated[
        Path | None, typer.Option(help="Also a folder with a page that runs the model.")
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="With --web: a folder of the npm package onnxruntime-web, to be copied into the page; "
            "by default the page takes it from the web."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="How many files of held-out pictures are compared.")
    ] = 100,
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one file that gives the same answer everywhere, without tellapart or PyTorch.

    The file takes the pixels of a picture of any size; resizing, network, probabilities and the score for
    "none of these" are inside. Held-out pictures, as files of every kind, must get the run's answer
    from it, or nothing is exported. A model card is written beside it.

    Examples:

        tellapart export runs/photos -o photos.onnx

        tellapart export photos.onnx --verify

        tellapart export runs/photos -o small.onnx --int8 --max-loss 0.5%

        tellapart export runs/photos --web site --runtime node_modules/onnxruntime-web
    """
    if verify:
        if int8 or batch or web or runtime:
            raise UsageError("--verify writes nothing; leave the other options out")
        _verify(target, out, pictures=pictures, workers=workers, json=json, quiet=quiet)
        return
    if _is_file(target):
        raise UsageError(f"{target} is exported already; name a run, or add --verify")
    if max_loss is not None and not int8:
        raise UsageError("--max-loss is about --int8; add it, or leave --max-loss out")
    from tellapart.evaluation.share import parse_share
    from tellapart.ship.export import export as export_run

    with progress_bars(quiet) as progress:
        exported = export_run(
            target, out, int8=int8, max_loss=parse_share(max_loss or "1%", "loss", zero=True),
            batch=batch, web=web, runtime=runtime, pictures=pictures, workers=workers,
            progress=progress,
        )  # fmt: skip
    _print(exported.to_json() if json else exported.sentence())
    if not quiet:
        _next(exported)


def _verify(
    target: Path, out: Path | None, *, pictures: int, workers: int | None, json: bool, quiet: bool
) -> None:
    from tellapart.ship.verify_export import verify_export

    run = None if _is_file(target) else target
    if run is None and out is not None:
        raise UsageError(f"-o names the file of a run; {target} is a file itself")
    file = target if run is None else out or target / "model.onnx"
    with progress_bars(quiet) as progress:
        parity = verify_export(file, run, pictures=pictures, workers=workers, progress=progress)
    _print(parity.to_json() if json else f"{file}: {parity.sentence()}")


def _print(result: "dict[str, Any] | str") -> None:
    if isinstance(result, str):
        typer.echo(plain(result))
    else:
        from json import dumps

        typer.echo(dumps(result))


def _is_file(target: Path) -> bool:
    return target.is_file() or (target.suffix == ".onnx" and not target.is_dir())


def _next(exported: "Exported") -> None:
    say(f"What it is and what it is worth: {exported.card}")
    if exported.web is not None:
        say(
            f"Look at the page: python -m http.server --bind 127.0.0.1 -d {quote(str(exported.web))}"
        )
    say(f"Next: tellapart predict {quote(str(exported.file))} new.jpg")
