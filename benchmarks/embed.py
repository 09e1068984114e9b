"""Embedding, from files on disk to features, against the plain way, in turn in one run.

    python benchmarks/embed.py [--runtime openvino] [--data FOLDER] [--at-least 5.0]

The plain way is timm, float32, torch's DataLoader with two workers and timm's own evaluation
transform, in `.venv-peers` (`make peers`). Both sides see the same files, decode with Pillow, and must
come to the same final features. Rounds alternate, A B A B …, and the ratio is the median of theirs.
Without `--data`, pictures of 227 to 512 px from ../shared/data, or else the gallery.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flops import count_flops
from machine import describe, finish
from tellapart.data.cpus import cpu_count
from tellapart.data.images import decode
from tellapart.data.ordered_map import ordered_map
from tellapart.model.backbones import open_backbone
from tellapart.model.runtime import open_session
from tellapart.training.embed import Embedder, embed

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
SHARED = ROOT.parent / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float)
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit("The plain way needs its own environment: make peers")
    with tempfile.TemporaryDirectory() as scratch:
        paths = pictures(options.data, options.images, Path(scratch))
        embedder = Embedder(open_backbone(options.backbone), runtime=options.runtime)
        compare(options, embedder, paths, Path(scratch))


def pictures(folder: Path | None, count: int, scratch: Path) -> list[str]:
    """Files of a moderate size, as people have them: no decoder shortcuts apply."""
    if folder is None and not SHARED.is_dir():
        from tellapart.data.gallery import draw_gallery

        folder = draw_gallery(scratch / "gallery", per_class=max(1, count // 5)).root
    folders = [folder] if folder else [SHARED / "art_style", SHARED / "imagenet_sample"]
    found: list[str] = []
    for place in folders:
        files = sorted(str(p) for p in place.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        step = max(1, len(files) * len(folders) // count)
        found += files[::step][: count // len(folders)]
    return found


def compare(
    options: argparse.Namespace, embedder: Embedder, paths: list[str], scratch: Path
) -> None:
    print(describe())
    print(
        f"{len(paths)} pictures, {options.backbone}, {embedder.precision}, {embedder.workers} workers"
    )
    plain = subprocess.Popen(
        [str(PEERS), str(ROOT / "benchmarks" / "plain_timm.py"), options.backbone, str(scratch)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TELLAPART_WEIGHTS": str(safetensors_of(options.backbone, scratch))},
    )  # fmt: skip
    assert plain.stdin is not None
    assert plain.stdout is not None
    (scratch / "paths.json").write_text(json.dumps(paths))
    ours, theirs = [], []
    for number in range(options.rounds + 1):  # the first round warms up
        start = time.perf_counter()
        features = embed(Path(), paths, embedder, cache=scratch / f"cache{number}")
        seconds = time.perf_counter() - start
        plain.stdin.write("go\n")
        plain.stdin.flush()
        other = float(plain.stdout.readline())
        if number:
            ours.append(len(paths) / seconds)
            theirs.append(len(paths) / other)
            print(f"round {number}: {ours[-1]:.1f} against {theirs[-1]:.1f} images/s")
    plain.stdin.close()
    plain.wait(timeout=60)
    agreement(embedder, paths, features.values, np.load(scratch / "plain.npy"))
    peak_share(embedder, paths)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    finish("ratio", statistics.median(ratios), at_least=options.at_least)


def safetensors_of(backbone: str, scratch: Path) -> Path:
    """The backbone's weights under timm's names: both stand in the same order."""
    from safetensors.numpy import save_file

    from tellapart.model.embedded import embedded_weights

    path = scratch / "weights.safetensors"
    tensors = embedded_weights(backbone)
    save_file({f"{i:04}": np.ascontiguousarray(t) for i, t in enumerate(tensors.values())}, path)
    return path


def agreement(embedder: Embedder, paths: list[str], kept: np.ndarray, plain: np.ndarray) -> None:
    """How far the final features are apart, as the network gives them and as the cache keeps them."""
    each = max(1, len(paths) // 100)
    some = [embedder.network_output(Path(path).read_bytes(), path) for path in paths[::each]]
    width = plain.shape[1]
    for name, ours, theirs in (
        ("from the network", np.stack(some)[:, :width], plain[::each]),
        ("from the cache, float16", kept[:, :width], plain),
    ):
        relative = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = ((ours * theirs).sum(axis=1) / norms).min()
        print(f"final features {name}: relative error {relative:.1e}, cosine >= {cosine:.6f}")


def peak_share(embedder: Embedder, paths: list[str]) -> None:
    """The network's multiplications a second, as a share of what matrix products reach here."""
    pixels = embedder.preprocess.apply(decode(Path(paths[0]).read_bytes()))
    session = open_session(embedder.backbone.graph, embedder.precision.split("-")[0])
    list(ordered_map(lambda _: session.run(pixels), range(20), workers=cpu_count()))
    start = time.perf_counter()
    n = 200
    list(ordered_map(lambda _: session.run(pixels), range(n), workers=cpu_count()))
    rate = n / (time.perf_counter() - start)
    reached = rate * count_flops(embedder.backbone.graph, embedder.preprocess.size) / 1e9
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    a @ a
    start = time.perf_counter()
    for _ in range(5):
        a @ a
    peak = 5 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9
    print(
        f"network alone: {rate:.0f} images/s = {reached:.0f} GFLOP/s, "
        f"{100 * reached / peak:.0f} % of the {peak:.0f} that a large matrix product reaches"
    )


if __name__ == "__main__":
    main()
