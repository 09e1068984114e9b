"""Test-time augmentation: the mean answer over augmented views of a picture (as fastai's `tta`).

The views are embedded by the run's own graph and cached, so a second call costs no forward pass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tellapart.errors import UsageError
from tellapart.evaluation.metrics import Metrics, evaluate
from tellapart.evaluation.paired import mcnemar
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.stages import run_dataset
from tellapart.finetuning.views import augmented_views
from tellapart.training.embed import Embedder, Progress, embed_again
from tellapart.training.run import Run

__all__ = ["AugmentedAnswers", "tta"]


@dataclass(frozen=True)
class AugmentedAnswers:
    """`probabilities` float32 (N, K) and `targets` (N,); figures with augmentation and without it."""

    probabilities: NDArray[np.float32]
    targets: NDArray[np.intp]
    metrics: Metrics
    plain: Metrics
    p_value: float

    def sentence(self) -> str:
        """Whether it changes anything."""
        differ = "differ" if self.p_value < 0.05 else "do not differ"
        return (
            f"With test-time augmentation {self.metrics.sentence()}; without it {self.plain.sentence()}. "
            f"They {differ} (McNemar p = {self.p_value:.2g})."
        )


def tta(
    run: Run,
    split: str = "valid",
    *,
    n: int = 4,
    beta: float = 0.25,
    transforms: Transforms | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> AugmentedAnswers:
    """beta × the plain answer + (1 − beta) × the mean over `n` augmented views, in probabilities.

    `run` may be a stage. Raises UsageError where n is below 1 or beta outside [0, 1], or the split empty.
    """
    if n < 1 or not 0 <= beta <= 1:
        raise UsageError(f"n {n}, beta {beta}: expected at least 1, and a share from 0 to 1")
    if split == "train":
        raise UsageError("the head has learned the training pictures; ask for valid or test")
    dataset = run_dataset(run)
    rows = dataset.rows_of(split)
    if not len(rows):
        raise UsageError(f"{run.folder} has no pictures in split {split!r}")
    embedder = Embedder(
        run.backbone(), run.preprocess, runtime=run.info["options"]["runtime"], workers=workers
    )
    answers = []
    for view in (None, *augmented_views(n, transforms, seed)):
        features = embed_again(dataset, rows, embedder, view, progress=progress)
        answers.append(run.probe.probabilities(features.values))
    mixed = (beta * answers[0] + (1 - beta) * np.mean(answers[1:], axis=0)).astype(np.float32)
    targets = dataset.targets[rows]
    right = [answer.argmax(axis=1) == targets for answer in (answers[0], mixed)]
    metrics, plain = (evaluate(a, targets, dataset.classes) for a in (mixed, answers[0]))
    return AugmentedAnswers(mixed, targets, metrics, plain, mcnemar(*right)[2])
