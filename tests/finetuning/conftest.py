"""Pictures and a network so small that a whole training takes a second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 48  # px


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Stripes that lie or stand in noise: 22 training and 12 validation pictures, all different."""
    root = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(0)
    for split, count in (("train", 11), ("valid", 6)):
        for label in ("lying", "standing"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 150, (SIDE, SIDE, 3), np.uint8)
                pixels[int(generator.integers(0, 8)) :: 8] += 100
                image = Image.fromarray(pixels if label == "lying" else pixels.transpose(1, 0, 2))
                image.save(root / split / label / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def tiny_options(tmp_path_factory) -> dict:
    """Keywords of TrainOptions for timm's smallest network, with weights from a file."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from safetensors.torch import save_file

    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), file)
    return {"backbone": "test_resnet", "weights": str(file), "size": SIDE}
