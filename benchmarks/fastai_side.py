"""fastai's side of `vs_fastai.py` and `top_losses.py`, a process for each stage. Runs in `.venv-peers`.

    python benchmarks/fastai_side.py JOB     JOB is JSON; `vs_fastai.py` says what is in it

As a beginner writes it: `Resize(224)`, `aug_transforms()`, batches of 64, `vision_learner` with a timm
network, `fit_one_cycle`. Only the weights come from a file and not from a hub, in a way of timm's, so
that fastai takes them for pretrained ones: it freezes the body and normalises by itself.

`top_losses` trains likewise and keeps the loss of every picture, as `Interpretation` has them.
`check` saves what the body sees in one picture; `frozen` runs from building the loaders to the end of
`fit_one_cycle`; `unfrozen` goes on from there, and its clock is that of `fit_one_cycle` alone. What is
written and predicted for the comparison comes after the clock.
"""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)
from PIL import Image

SIDE = 224
WORKERS = 2


def main():
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    table = pd.read_csv(job["pictures"], dtype=str, keep_default_na=False)
    set_seed(0)
    stages = {"check": check, "frozen": frozen, "unfrozen": unfrozen, "top_losses": top_losses}
    answer = stages[job["stage"]](job, table, folder)
    (folder / f"{job['stage']}.json").write_text(json.dumps(answer))


def loaders(job, table):
    used = table[table["split"].isin(["train", "valid"])]
    used = used.assign(is_valid=used["split"] == "valid")
    return ImageDataLoaders.from_df(
        used, path=job["root"], fn_col="path", label_col="label", valid_col="is_valid",
        item_tfms=Resize(SIDE), batch_tfms=aug_transforms(), num_workers=WORKERS,
    )  # fmt: skip


def learner(job, table, folder):
    return vision_learner(
        loaders(job, table), job["backbone"], metrics=accuracy, path=folder,
        pretrained_cfg_overlay={"file": job["weights"]},
    )  # fmt: skip


def check(job, table, folder):
    """The final features of one picture, by the learner's body, on timm's own evaluation pixels."""
    body = learner(job, table, folder).model[0]
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=body.model))
    pixels = transform(Image.open(Path(job["root"]) / table["path"][0]).convert("RGB"))
    body.eval()
    with torch.inference_mode():
        features = body(pixels[None]).mean(dim=(2, 3))
    np.save(folder / "features.npy", features.numpy())
    return {}


def frozen(job, table, folder):
    began = time.monotonic()
    learn = learner(job, table, folder)
    built = time.monotonic()
    with learn.no_bar():
        learn.fit_one_cycle(job["epochs"])
    ended = time.monotonic()
    learn.save("frozen")
    predict(learn, table, folder / "frozen.csv")
    images = seen(learn, job["epochs"])
    return {
        "seconds": ended - began,
        "ended": ended,
        "images": images,
        "parts": {"build": built - began},
    }


def unfrozen(job, table, folder):
    learn = learner(job, table, folder)
    learn.load("frozen")
    learn.unfreeze()
    began = time.monotonic()
    with learn.no_bar():
        learn.fit_one_cycle(
            job["epochs"], lr_max=slice(float(job["lowest"]), float(job["highest"]))
        )
    ended = time.monotonic()
    predict(learn, table, folder / "unfrozen.csv")
    images = seen(learn, job["epochs"])
    return {"seconds": ended - began, "ended": ended, "images": images, "parts": {}}


def top_losses(job, table, folder):
    learn = learner(job, table, folder)
    with learn.no_bar():
        learn.fit_one_cycle(job["epochs"])
        every = learn.dls.test_dl(table, with_labels=True)
        *_, losses = learn.get_preds(dl=every, with_loss=True)
    np.save(folder / "losses.npy", losses.numpy())
    return {}


def seen(learn, epochs):
    """Pictures that went through the network: fastai leaves the last short batch of training out."""
    train, valid = learn.dls.train, learn.dls.valid
    return epochs * (len(train) * train.bs + len(valid.dataset))


def predict(learn, table, file):
    held_out = table[table["split"] != "train"]
    with learn.no_bar():
        probabilities, _ = learn.get_preds(dl=learn.dls.test_dl(held_out))
    names = [learn.dls.vocab[i] for i in probabilities.argmax(dim=1)]
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["path", "label", "predicted"])
        rows.writerows(zip(held_out["path"], held_out["label"], names, strict=True))


if __name__ == "__main__":
    main()
