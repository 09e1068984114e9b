"""`tellapart export`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Json, Quiet, Workers
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
        str, typer.Option(help="With --int8: how much of the accuracy may be lost, as 1% or 0.01.")
    ] = "1%",
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
    from tellapart.ship import export as exporting

    with progress_bars(quiet) as progress:
        if verify:
            file, run = (
                (target, None) if _is_file(target) else (out or target / "model.onnx", target)
            )
            if int8 or batch or web or runtime:
                raise UsageError("--verify writes nothing; leave the other options out")
            parity = exporting.verify_export(
                file, run, pictures=pictures, workers=workers, progress=progress
            )
            shown, text = parity.to_json(), f"{file}: {parity.sentence()}"
        else:
            from tellapart.evaluation.share import parse_share

            exported = exporting.export(
                target, out, int8=int8, max_loss=parse_share(max_loss, "loss", zero=True),
                batch=batch, web=web, runtime=runtime, pictures=pictures, workers=workers,
                progress=progress,
            )  # fmt: skip
            shown, text = exported.to_json(), exported.sentence()
    if json:
        from json import dumps

        typer.echo(dumps(shown))
    else:
        typer.echo(text)
    if not verify and not quiet:
        _next(exported)


def _is_file(target: Path) -> bool:
    return target.is_file() or (target.suffix == ".onnx" and not target.is_dir())


def _next(exported: "Exported") -> None:
    if exported.int8 is not None:
        say(f"In 8 bits: {exported.int8.sentence()}")
    say(f"What it is and what it is worth: {exported.card}")
    if exported.web is not None:
        say(
            f"Look at the page: python -m http.server --bind 127.0.0.1 -d {quote(str(exported.web))}"
        )
    say(f"Next: tellapart predict {quote(str(exported.file))} new.jpg")
