"""`tellapart serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellapart.cli.messages import say
from tellapart.cli.options import Json, Quiet, Workers

if TYPE_CHECKING:
    from tellapart.ship.server.server import ModelServer

__all__ = ["serve"]

_HERE = ("127.0.0.1", "localhost", "::1")
_MIB = 1 << 20


def serve(
    model: Annotated[Path, typer.Argument(help="An exported file, or a run folder.")],
    host: Annotated[
        str, typer.Option(help="The address to serve at; others than this machine's own are risky.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the token that askers have to send; or set TELLAPART_TOKEN. A token in the "
            "command line could be read by others."
        ),
    ] = None,
    deadline: Annotated[
        float,
        typer.Option(
            help="Seconds within which a request is answered. More than can be is refused (503)."
        ),
    ] = 5.0,
    most_bytes: Annotated[int, typer.Option(min=1, help="Bytes in one request.")] = 64 * _MIB,
    most_pixels: Annotated[int, typer.Option(min=1, help="Pixels of one picture.")] = 50_000_000,
    most_files: Annotated[int, typer.Option(min=1, help="Pictures in one request.")] = 32,
    target_error: Annotated[
        str | None,
        typer.Option(
            help="How many of the answers called sure may be wrong, as 2% or 0.02; by default as the "
            "model was trained for."
        ),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="onnxruntime or openvino; by default the model's own.")
    ] = None,
    workers: Workers = None,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Go on with the same model when its file changes.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer over HTTP: a page to drop a picture on, and POST /v1/predict for programs.

    Every request is a line of JSON on standard error, without pictures, names and tokens. Ctrl-C or SIGTERM
    ends it: what was accepted is answered. A changed model file is loaded and checked, and takes over.

    Examples:

        tellapart serve model.onnx

        curl --data-binary @new.jpg -H "Content-Type: image/jpeg" http://127.0.0.1:8000/v1/predict

        curl -F file=@a.jpg -F file=@b.png http://127.0.0.1:8000/v1/predict

        TELLAPART_TOKEN=$(openssl rand -hex 16) tellapart serve model.onnx --host 0.0.0.0
    """
    import sys

    from tellapart.evaluation.share import parse_share
    from tellapart.ship.server.limits import Limits
    from tellapart.ship.server.server import serve as serve_model

    token = _token(token_file)
    if host not in _HERE and not quiet:
        say(_risk(host, token))

    def ready(server: "ModelServer") -> None:
        _announce(server, model, json=json)

    serve_model(
        model, host=host, port=port, token=token, workers=workers, runtime=runtime, ready=ready,
        target_error=None if target_error is None else parse_share(target_error),
        limits=Limits(most_bytes, most_pixels, most_files, deadline), reload=not no_reload,
        log=None if quiet else sys.stderr,
    )  # fmt: skip


def _token(file: Path | None) -> str | None:
    """The token from its file, or else from the environment."""
    import os

    from tellapart.errors import UsageError

    if file is None:
        return os.environ.get("TELLAPART_TOKEN") or None
    try:
        with file.open(encoding="ascii") as opened:
            return opened.read(10_000)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text of ASCII characters"
        raise UsageError(f"--token-file {file} cannot be read: {reason}") from None


def _risk(host: str, token: str | None) -> str:
    reached = f"Note: {host} can be reached from other machines"
    if token is None:
        return (
            f"{reached}, and whoever reaches it can ask: set TELLAPART_TOKEN. Nothing is encrypted."
        )
    return (
        f"{reached}, and nothing is encrypted, the token neither: put a server with TLS before it."
    )


def _announce(server: "ModelServer", model: Path, *, json: bool) -> None:
    """The address, as soon as it can be asked."""
    if json:
        from json import dumps

        typer.echo(dumps({"url": server.url, "model": str(model), "classes": list(server.classes)}))
    else:
        typer.echo(server.url)
