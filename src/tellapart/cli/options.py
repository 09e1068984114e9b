"""Options that mean the same in every command."""

from typing import Annotated

import typer

__all__ = [
    "Address",
    "Backbone",
    "Conflicts",
    "Engine",
    "Json",
    "MinSide",
    "Preset",
    "Quiet",
    "Runtime",
    "Seed",
    "Store",
    "Workers",
]

Backbone = Annotated[
    str | None,
    typer.Option(
        help="The pretrained network in the place of the preset's: tf_efficientnet_lite0, the larger "
        "tf_efficientnet_lite2, or any of timm's by its name (converted once, with the extra "
        "'finetune'); see tellapart backbones."
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        help="fast, balanced (a larger network) or best (a large one, downloaded once, with the extra "
        "'finetune'). Sets the backbone and its size where they are not given."
    ),
]
TrainDir = Annotated[
    str | None, typer.Option(help="Name of the training folder in DATA, if unusual.")
]
ValidDir = Annotated[str | None, typer.Option(help="Name of the validation folder.")]
TestDir = Annotated[str | None, typer.Option(help="Name of the test folder.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same answer.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Runtime = Annotated[str, typer.Option(help="What computes: onnxruntime or openvino.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Pictures at a time, or tasks of a cluster; as many as there are CPUs by default.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(help="Where the pictures are looked at: local, or ray for a cluster (extra ray)."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The Ray cluster: HOST or HOST:PORT; by default auto, the one that this machine belongs to."
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        help="Where workers leave features, in files that are kept: a folder that all nodes see, or a URL "
        "such as s3://bucket/shards."
    ),
]
MinSide = Annotated[
    int, typer.Option(min=1, help="Pictures with a shorter side, in px, are refused.")
]
Conflicts = Annotated[
    str | None,
    typer.Option(
        help="A picture in two classes: keep (in each), first, or drop; by default in neither."
    ),
]
