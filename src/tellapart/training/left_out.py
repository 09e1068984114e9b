"""The probes of cross-validation again: what judged a training picture without having learned from it.

A run keeps their answers, not themselves. Folds follow from the data and the seed, and the setting is
that of the run, so they are fitted once more where somebody asks what such an answer was made of.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tellapart.training.embed import Embedder, Progress, embed
from tellapart.training.logistic import Array, covariance_sketch, solve
from tellapart.training.probe import Probe, balanced_weights
from tellapart.training.recipe import Task, new_task
from tellapart.training.run import Run
from tellapart.training.run_pictures import run_pictures
from tellapart.training.trust import at_temperature

__all__ = ["left_out_probes"]

_TOLERANCE = 1e-5
_LEAST_AGREEING = 0.97  # of the answers that the run has kept


def left_out_probes(
    run: Run,
    paths: Collection[str],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Probe]:
    """For each of `paths` that `run` trained on, a probe fitted on the other folds.

    Empty where the run's head is no convex probe on pictures as they are, where a picture has changed,
    or where these probes do not answer as those of the run did. Raises DatasetError, RunError, ModelError.
    """
    facts = run.info["probe"]
    if facts.get("recipe") != "probe" or facts.get("views") or "stage" in run.info:
        return {}
    dataset = run_pictures(run)
    rows = dataset.rows_of("train")
    train = [dataset.paths[row] for row in rows]
    if not set(paths) & set(train):
        return {}
    runtime = run.info["options"]["runtime"]
    embedder = Embedder(run.backbone(), run.preprocess, runtime=runtime, workers=workers)
    features = embed(dataset.root, dataset.paths, embedder, progress=progress)
    if features.failures or list(features.sha256) != list(dataset.table["sha256"]):
        return {}
    task = new_task(
        dataset, features.values, [], embedder.backbone.dimensions,
        class_weight="balanced" if facts["balanced"] else "none",
        seed=run.info["options"]["seed"], workers=embedder.workers,
        progress=lambda done, total: None, on_epoch=lambda row: None,
    )  # fmt: skip
    places = {
        path: int(fold) for path, fold in zip(train, task.folds, strict=True) if path in paths
    }
    temperature = 1.0 if run.trust is None else run.trust.temperature
    probes = {
        fold: at_temperature(_without(task, fold, facts), temperature)
        for fold in sorted(set(places.values()))
    }
    if _agreeing(run, task, train, probes) < _LEAST_AGREEING:
        return {}
    return {path: probes[fold] for path, fold in places.items()}


def _agreeing(run: Run, task: Task, train: Sequence[str], probes: Mapping[int, Probe]) -> float:
    """The share of their pictures that get the class which the run has kept."""
    kept = {row[0]: row[3] for row in run.predictions()}
    right = n = 0
    for fold, probe in probes.items():
        own = np.flatnonzero(task.folds == fold)
        found = probe.probabilities(task.features[own]).argmax(axis=1)
        answers = zip(own.tolist(), found.tolist(), strict=True)
        right += sum(task.classes[k] == kept.get(train[row]) for row, k in answers)
        n += len(own)
    return right / n


def _without(task: Task, fold: int, facts: dict[str, object]) -> Probe:
    """The probe of the other folds, at the setting of the run."""
    from threadpoolctl import threadpool_limits

    name = str(facts["features"])
    inside = task.folds != fold
    x: Array = task.features[inside, : task.widths[name]]
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    std[std < 1e-6 * np.maximum(np.abs(mean), 1e-3)] = np.inf  # constant: it can say nothing
    x = (x - mean.astype(np.float32)) / std.astype(np.float32)
    targets, classes = task.targets[inside], len(task.classes)
    weight = balanced_weights(targets, classes) if task.balanced else np.ones(len(targets))
    with threadpool_limits(task.workers, user_api="blas"):
        found = solve(
            x, targets, classes, weight[None].astype(np.float32), np.ones((1, x.shape[1]), np.float32),
            np.asarray([float(str(facts["strength"])) / len(targets)]),
            sketch=covariance_sketch(x), tolerance=_TOLERANCE,
        )  # fmt: skip
    weights = np.ascontiguousarray(found.weights[0].T)
    return Probe(name, mean.astype(np.float32), std.astype(np.float32), weights, found.bias[0])
