"""fastai's side of `lr_find.py`: the valley of its finder for each seed. Runs in `.venv-peers`.

    python benchmarks/fastai_valley.py FEATURES.npz SEEDS

FEATURES holds standardised features (N, D), targets (N,) and class weights (K,), or none of them. The
head is a linear layer of zeros. All else is fastai's default, but for batches of 64, which is its
default too: Adam at rates from 1e-7 to 10 in 100 steps, the last short batch dropped. Prints a list.
"""

import json
import sys

import numpy as np
import torch
from fastai.basics import CrossEntropyLossFlat, DataLoaders, Learner, set_seed
from fastai.callback.schedule import valley
from torch import nn
from torch.utils.data import TensorDataset


def main():
    data = np.load(sys.argv[1])
    print(json.dumps([suggestion(data, seed) for seed in range(int(sys.argv[2]))]))


def suggestion(data, seed):
    set_seed(seed, reproducible=True)
    features, targets = torch.from_numpy(data["features"]), torch.from_numpy(data["targets"]).long()
    pictures = TensorDataset(features, targets)
    loaders = DataLoaders.from_dsets(pictures, pictures, bs=64, num_workers=0, device="cpu")
    head = nn.Linear(features.shape[1], int(targets.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    weights = torch.from_numpy(data["weights"]) if len(data["weights"]) else None
    learner = Learner(loaders, head, loss_func=CrossEntropyLossFlat(weight=weights))
    with learner.no_bar():
        return learner.lr_find(suggest_funcs=valley, show_plot=False).valley


if __name__ == "__main__":
    main()
