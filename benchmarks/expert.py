"""What an expert writes in thirty lines: timm's features once, then scikit-learn. Runs in `.venv-peers`.

    python benchmarks/expert.py JOB          JOB is JSON; `vs_fastai.py` says what is in it

float32, timm's evaluation transform, two loader workers, batches of 64; a standardised logistic
regression whose penalty is chosen by five-fold cross-validation on both CPUs. The clock runs from
reading the table of pictures to the accuracy on those held out.
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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from plain_timm import Pictures


def main():
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    began = time.monotonic()
    table = pd.read_csv(job["pictures"], dtype=str, keep_default_na=False)
    overlay = {"file": job["weights"]}
    model = timm.create_model(
        job["backbone"], pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
    ).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    paths = [Path(job["root"]) / path for path in table["path"]]
    loader = DataLoader(Pictures(paths, transform), batch_size=64, num_workers=2)
    with torch.inference_mode():
        features = torch.cat([model(batch) for batch in loader]).numpy()
    embedded = time.monotonic()
    train = (table["split"] == "train").to_numpy()
    labels = table["label"].to_numpy()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": np.logspace(-4, 1, 6)}, cv=5, n_jobs=-1,
    )  # fmt: skip
    search.fit(features[train], labels[train])
    predicted = search.predict(features[~train])
    strength = search.best_params_["logisticregression__C"]
    right = (predicted == labels[~train]).mean()
    print(f"    C {strength:g}: {right:.1%} right", flush=True)
    ended = time.monotonic()
    np.save(folder / "features.npy", features[:1])
    with (folder / "expert.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "predicted"])
        rows.writerows(zip(table["path"][~train], labels[~train], predicted, strict=True))
    parts = {"features": embedded - began, "classifier": ended - embedded}
    answer = {"seconds": ended - began, "ended": ended, "images": len(paths), "parts": parts}
    (folder / "expert.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
