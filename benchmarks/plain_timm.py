"""The plain way: timm, float32, torch's DataLoader with two workers. Runs in `.venv-peers`.

Started by `embed.py`: for every line on standard input it embeds the pictures of SCRATCH/paths.json
and prints the seconds; the features of the last round are in SCRATCH/plain.npy.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def load_model(name):
    model = timm.create_model(name, pretrained=False)
    given = list(load_file(os.environ["TELLAPART_WEIGHTS"]).items())
    given.sort()
    state = model.state_dict()
    filled = {key: given[i][1].reshape(value.shape) for i, (key, value) in enumerate(state.items())}
    model.load_state_dict(filled)
    model.reset_classifier(0)
    return model.eval()


def main():
    name, scratch = sys.argv[1], Path(sys.argv[2])
    model = load_model(name)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    for _ in sys.stdin:
        start = time.perf_counter()
        loader = DataLoader(
            Pictures(json.loads((scratch / "paths.json").read_text()), transform),
            batch_size=64,
            num_workers=2,
        )
        with torch.inference_mode():
            features = torch.cat([model(batch) for batch in loader])
        seconds = time.perf_counter() - start
        np.save(scratch / "plain.npy", features.numpy())
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
