"""Whether to mirror pictures while a run is trained on: asked of its own training pictures."""

from dataclasses import replace

import numpy as np

from tellapart.audit.transformations import TransformationSafety, transformation_safety
from tellapart.errors import DatasetError
from tellapart.finetuning.stages import run_dataset
from tellapart.training.embed import Embedder, Progress, embed_again
from tellapart.training.run import Run

__all__ = ["flip_safety"]


def flip_safety(
    run: Run, *, workers: int = 2, progress: Progress | None = None
) -> TransformationSafety | None:
    """What mirroring does to the training pictures of a run, at most 300 of them.

    None where they are too few to ask. Costs a forward pass for each, the first time. Raises RunError
    or DatasetError where the run's pictures are gone.
    """
    dataset = run_dataset(run)
    inside = dataset.table["split"] == "train"
    dataset = replace(dataset, table=dataset.table[inside].reset_index(drop=True))
    embedder = Embedder(
        run.backbone(), run.preprocess, runtime=run.info["options"]["runtime"], workers=workers
    )
    plain = embed_again(dataset, np.arange(len(dataset)), embedder, progress=progress)
    try:
        return transformation_safety(dataset, embedder, plain.values, progress=progress)[0]
    except DatasetError:
        return None
