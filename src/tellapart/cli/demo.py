"""`tellapart demo`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tellapart.cli.messages import progress_bars, say
from tellapart.cli.options import Quiet, Seed, Workers

__all__ = ["demo"]

_CLOSING = """
That was the whole way: {n} pictures drawn, each sent through a pretrained network once, a classifier
trained on what the network saw, its setting chosen by cross-validation, and five new pictures told
apart. On your own pictures, put those of each class into a folder of their own and run

    tellapart train FOLDER --out runs/mine
    tellapart predict runs/mine NEW-PICTURE.jpg
"""


def demo(
    into: Annotated[Path, typer.Option(help="The folder to work in.")] = Path("demo"),
    per_class: Annotated[int, typer.Option(min=5, help="Pictures to draw per class.")] = 120,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Draw a data set, train on it, and tell five new pictures apart: the main job in a minute.

    Example:

        tellapart demo
    """
    from tellapart.cli.predict import print_predictions
    from tellapart.cli.train import show_run
    from tellapart.data.gallery import CLASSES, draw_gallery, draw_picture
    from tellapart.ship.predictor import load
    from tellapart.training.train import TrainOptions, train

    with progress_bars(quiet) as progress:
        draw_gallery(
            into / "art", per_class, seed, workers=workers, progress=partial(progress, "draw")
        )
        new = []
        for style in CLASSES:
            path = into / "new" / f"{style}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_picture(style, per_class, seed + 1).save(path)
            new.append(path)
        run = train(
            into / "art", into / "run", TrainOptions(seed=seed), overwrite=True, workers=workers,
            progress=progress,
        )  # fmt: skip
    show_run(run, json=False, quiet=True)
    typer.echo("\nFive new pictures, named after what they are:")
    predictor = load(run.folder, workers=workers)
    print_predictions(predictor.predict_many(new), predictor.classes, form="table", top=1)
    if not quiet:
        for line in _CLOSING.format(n=per_class * len(CLASSES)).splitlines():
            say(line)
