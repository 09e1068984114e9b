"""`tellapart finetune`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tellapart.cli.messages import progress_bars, row_printer, say
from tellapart.cli.options import Address, Engine, Json, Quiet, Seed

__all__ = ["finetune"]


def finetune(
    run: Annotated[Path, typer.Argument(help="A run folder with validation pictures.")],
    epochs: Annotated[int, typer.Option(min=1, help="How often every picture is seen.")] = 2,
    lr: Annotated[
        str, typer.Option(help="The highest rate: 1e-4, or 1e-5..1e-4 from stem to head.")
    ] = "1e-5..1e-4",
    unfreeze: Annotated[
        str, typer.Option(help="How many layer groups learn: all, last or a number.")
    ] = "all",
    batch: Annotated[int, typer.Option(min=2, help="Pictures at a time.")] = 32,
    accumulate: Annotated[
        int, typer.Option(min=1, help="How many batches make one step, where memory is small.")
    ] = 1,
    start: Annotated[
        str | None, typer.Option("--from", help="Begin with this stage; stage-1 is the run itself.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The new stage's name.")] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            help="Mirror pictures at random or never (text, hands, maps); by default as a sample of "
            "the training pictures bears it.",
        ),
    ] = None,
    max_rotate: Annotated[float, typer.Option(help="Degrees that pictures are turned by.")] = 10.0,
    max_zoom: Annotated[float, typer.Option(help="How much they are zoomed into.")] = 1.1,
    max_warp: Annotated[float, typer.Option(help="How much their perspective changes.")] = 0.2,
    max_lighting: Annotated[float, typer.Option(help="How much brightness and contrast do.")] = 0.2,
    label_smoothing: Annotated[float, typer.Option(help="0 for none.")] = 0.0,
    mixup: Annotated[
        float, typer.Option(help="Blend pictures in pairs: the alpha, such as 0.2; 0 for never.")
    ] = 0.0,
    cutmix: Annotated[
        float, typer.Option(help="Paste a part of one into another: the alpha, such as 1.")
    ] = 0.0,
    ema: Annotated[
        float, typer.Option(help="Average the weights with this decay, such as 0.99; 0 for none.")
    ] = 0.0,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            help="Set a tenth of the training pictures aside, end after so many epochs without a lower "
            "loss on them, and keep the best epoch; 0 for never.",
        ),
    ] = 0,
    views: Annotated[
        int,
        typer.Option(
            min=0,
            help="In how many changed views of a picture the frozen layers see it, where a part learns; "
            "0 for another one in each epoch.",
        ),
    ] = 4,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write losses and rates for TensorBoard into this folder.")
    ] = None,
    seed: Seed = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that load pictures; with --engine ray, processes that train. As many as there "
            "are CPUs by default.",
        ),
    ] = None,
    engine: Engine = "local",
    address: Address = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Unfreeze the network of a run and train it on, as a new stage of the run.

    It begins with what the run has learned, writes a checkpoint each epoch and each minute, and ends as a
    run of its own below RUN/stages, which predicts like any other. The same command goes on where it
    was interrupted. Needs the extra finetune. With --engine ray the processes of a cluster train together,
    and so do those of torchrun, to the same numbers; all must see the folders of the run and of its
    pictures.

    Examples:

        tellapart finetune runs/mine

        tellapart finetune runs/mine --epochs 4 --lr 1e-6..1e-4 --no-flip

        tellapart finetune runs/mine --from stage-1 --unfreeze last --lr 1e-4

        tellapart finetune /shared/runs/mine --engine ray --workers 4

        torchrun --nproc-per-node 2 -m tellapart finetune runs/mine
    """
    from dataclasses import replace

    from tellapart.data.cpus import cpu_count
    from tellapart.finetuning.augment import Transforms
    from tellapart.finetuning.finetune import finetune as finetune_run
    from tellapart.finetuning.finetune_options import FinetuneOptions
    from tellapart.finetuning.flip import flip_safety
    from tellapart.finetuning.group import joined
    from tellapart.training.run import Run

    begun = Run.load(run)
    transforms = Transforms(flip is not False, False, max_rotate, max_zoom, max_lighting, max_warp)
    options = FinetuneOptions(
        epochs, lr, unfreeze, batch, transforms, label_smoothing, seed=seed, accumulate=accumulate,
        mixup=mixup, cutmix=cutmix, ema=ema, patience=patience, views=views,
    )  # fmt: skip
    loaders = workers or (cpu_count() if engine == "local" else None)
    with joined() as group, progress_bars(quiet or not group.first) as progress:
        quiet, shown = quiet or not group.first, group.first
        if flip is None and group.first:  # whose options are those of all
            safety = flip_safety(begun, workers=workers or cpu_count(), progress=progress)
            mirrored = safety is None or safety.verdict != "unsafe"
            options = replace(options, transforms=replace(transforms, do_flip=mirrored))
            if safety is not None and not quiet:
                how = "mirrored at random" if mirrored else "not mirrored"
                say(f"Pictures are {how}: {safety.sentence()}.")
        stage = finetune_run(
            begun, options, start=start, name=name, workers=loaders, progress=progress,
            on_epoch=row_printer(show=not json and not quiet), engine=engine, address=address,
            on_note=(lambda note: None) if quiet else say, tensorboard=tensorboard,
        )  # fmt: skip
    if not shown:
        return
    if json:
        from json import dumps

        typer.echo(dumps({"run": str(stage.folder), **stage.info}))
        return
    from tellapart.cli.tables import print_metrics

    print_metrics(stage)
    if not quiet:
        for note in stage.notes:
            say(f"Note: {note}.")
        say(
            f"The stage is in {stage.folder}. Next: tellapart predict {quote(str(stage.folder))} PICTURE"
        )
