"""Runs that no training has made: with as many classes, and as odd names, as a test needs."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from run_copies import copy_of_run
from tellapart.data.dataset import Dataset
from tellapart.evaluation.abstention import risk_coverage, threshold_for
from tellapart.evaluation.calibration import calibration
from tellapart.evaluation.metrics import evaluate
from tellapart.training.probe import Probe
from tellapart.training.run import Run, claim_folder, write_info, write_run
from tellapart.training.train import run_tables
from tellapart.training.trust import Trust

HOSTILE = "<img src=x onerror=alert(1)>"


def made_run(
    folder, classes, *, per_class=6, wrong=0.2, pictures=True, noise=False, seed=0, **info
) -> Run:
    """A run folder on pictures beside it: a quarter valid, the rest train, about `wrong` of all answered
    wrongly. `noise` draws pictures that compress badly; without `pictures` there are none."""
    folder = Path(folder)
    root = folder.parent / f"{folder.name}-pictures"
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    rows, raws = [], []
    for k, label in enumerate(classes):
        for i in range(per_class):
            path = f"{k}/{HOSTILE if i == 0 else i}.png"
            rows.append(
                (path, label, "valid" if i % 4 == 3 else "train", "", f"{k * 1000 + i:064x}")
            )
            if pictures:
                raws = raws or [_drawn(generator, 240 if noise else 40) for _ in range(9)]
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(raws[len(rows) % len(raws)])
    dataset = Dataset.from_rows(root, rows)
    probabilities = _answers(dataset, wrong, generator)
    claim_folder(folder, {"data": str(root), "recipe": {"recipe": "probe", "views": []}})
    tables = run_tables(dataset, probabilities)
    trust = _trust(probabilities, dataset.targets)
    probe = Probe("final", *(np.ones(shape, np.float32) for shape in ((4,), (4,), (4, 2), (2,))))
    return write_run(folder, {**_info(dataset, probabilities, trust), **info}, probe, tables, trust)


def as_stage(run: Run, name: str = "stage-2") -> Run:
    """A folder like that of a fine-tuned stage: valid answers alone, nothing promised, two epochs."""
    stage = copy_of_run(run, run.folder / "stages" / name)
    kept = [row for row in stage.predictions() if row[1] != "train"]
    header = ["path", "split", "label", "predicted", *(f"p_{name}" for name in run.classes)]
    _write(stage.folder / "predictions.csv", [header, *kept])
    fields = ("epoch", "train_loss", "valid_loss", "errors", "n", "seconds", "lr")
    _write(
        stage.folder / "history.csv",
        [fields, (0, 0.9, 0.8, 3, 9, 1.5, 1e-4), (1, 0.4, 0.5, 2, 9, 1.5, 1e-4)],
    )
    (stage.folder / "config.json").write_text("{}")
    facts = {
        "trust": None, "stage": name, "of_run": "x", "from": "stage-1", "depth": 1, "finished": 0.0,
        "finetune": {
            "epochs": 2, "lr": "1e-05..0.0001", "unfreeze": "last", "batch": 16, "accumulate": 2,
            "transforms": {"do_flip": False, "max_rotate": 10.0}, "seed": 0, "views": 4,
        },
        "seconds": {"finetune": 12.5}, "fit_notes": ["the stages do not differ"],
        "metrics": {k: v for k, v in run.info["metrics"].items() if k != "out_of_fold"},
    }  # fmt: skip
    return write_info(stage.folder, {**stage.info, **facts})


def _drawn(generator, side: int) -> bytes:
    raw = BytesIO()
    Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(raw, "PNG")
    return raw.getvalue()


def _answers(dataset: Dataset, wrong: float, generator) -> np.ndarray:
    n, k = len(dataset), len(dataset.classes)
    logits = generator.normal(size=(n, k))
    named = np.where(generator.random(n) < wrong, generator.integers(0, k, n), dataset.targets)
    logits[np.arange(n), named] += 6 + generator.random(n) * 4
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def _trust(probabilities: np.ndarray, targets: np.ndarray) -> Trust:
    found, curve = calibration(probabilities, targets), risk_coverage(probabilities, targets)
    return Trust(1.1, found, found, curve, threshold_for(0.3, curve), {0.05: 0.2}, None)


def _info(dataset: Dataset, probabilities: np.ndarray, trust: Trust) -> dict:
    parts = {"out_of_fold": dataset.rows_of("train"), "valid": dataset.rows_of("valid")}
    counts = dataset.counts()
    return {
        "format": 1, "classes": list(dataset.classes),
        "backbone": {
            "name": "tf_efficientnet_lite0", "graph_sha256": "0" * 64, "weights_sha256": "0" * 64,
            "licence": "Apache-2.0", "source": "drawn by chance", "origin": "random", "parameters": 7,
            "dimensions": {"final": 4, "all": 4},
        },
        "preprocess": {"size": 64, "fit": "crop"}, "precision": "onnxruntime-float32",
        "dataset": {
            "root": str(dataset.root), "fingerprint": dataset.fingerprint, "failures": 0,
            "counts": {split: counts[split].to_dict() for split in counts},
        },
        "options": {"seed": 0, "runtime": "onnxruntime", "weights": None},
        "probe": {"recipe": "probe", "features": "final", "strength": 3.0, "balanced": False},
        "metrics": {
            name: evaluate(probabilities[rows], dataset.targets[rows], dataset.classes).to_json()
            for name, rows in parts.items()
        },
        "notes": [f"a note on {HOSTILE}"], "fit_notes": [], "computed": 0,
        "seconds": {"embed": 2.0, "probe": 1.0}, "versions": {"tellapart": "0.1.0"},
        "trust": trust.to_json(),
    }  # fmt: skip


def _write(file: Path, rows) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
