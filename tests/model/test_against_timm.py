"""Our graphs against timm's networks, where `make peers` has put torch at hand."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tellapart.model.efficientnet_lite import build_efficientnet_lite
from tellapart.model.embedded import BACKBONES, PACKAGES, embedded_weights
from tellapart.model.runtime import open_session

PEERS = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
TIMM_IS_THERE = any(PEERS.parents[1].glob("lib/python*/site-packages/timm"))

TIMM = """
import sys
import numpy as np, timm, torch
from safetensors.torch import load_file
name, folder = sys.argv[1:]
model = timm.create_model(name, pretrained=False).eval()
given = sorted(load_file(f"{folder}/weights.safetensors").items())
state = model.state_dict()
assert len(given) == len(state)
model.load_state_dict({k: t.reshape(v.shape) for (k, v), (_, t) in zip(state.items(), given)})
with torch.inference_mode():
    maps = model.forward_features(torch.from_numpy(np.load(f"{folder}/pixels.npy")))
    final = model.forward_head(maps, pre_logits=True)
    logits = model.forward_head(maps)
np.savez(f"{folder}/timm.npz", final=final.numpy(), logits=logits.numpy())
"""


@pytest.mark.skipif(not TIMM_IS_THERE, reason="no timm in .venv-peers; `make peers` gets it")
@pytest.mark.parametrize("name", list(BACKBONES))
def test_features_and_logits_agree(name, tmp_path):
    info = BACKBONES[name]
    tensors = embedded_weights(name)
    numbered = {f"{i:04}": np.ascontiguousarray(t) for i, t in enumerate(tensors.values())}
    save_file(numbered, tmp_path / "weights.safetensors")
    size = info.preprocess.size
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    subprocess.run([PEERS, "-c", TIMM, name, tmp_path], check=True, timeout=240)
    theirs = np.load(tmp_path / "timm.npz")
    graph = build_efficientnet_lite(tensors, PACKAGES[name].depth, classifier=True)
    ours = open_session(graph.SerializeToString()).run(pixels)
    for mine, other in (
        (ours["features"][:, : theirs["final"].shape[1]], theirs["final"]),
        (ours["logits"], theirs["logits"]),
    ):
        assert np.abs(mine - other).max() <= 3e-5 * np.abs(other).max()
