"""How much memory embedding takes as the pictures become more, and fine-tuning at its height.

    python benchmarks/memory.py [--at-most 100]               embedding
    python benchmarks/memory.py --finetune [--at-most 4000]   fine-tuning

Embedding: each number of pictures in a process of its own, with a fresh cache. The pictures are
64×64 px, each of other bytes. The network is a tiny graph with as long a vector as the default
backbone's, at 32 px, since what is kept does not depend on what computed it; 1,000 pictures also go
through the default backbone. `own` is the peak of the process's own memory, RssAnon of Linux, looked
at 50 times a second; `total` the peak of all resident pages, VmHWM, with the mapped file of the
vectors, which the kernel may take back. The last line is the growth of `own` in MB from the second
largest number of pictures to the largest.

Fine-tuning: `tellapart finetune` with the default backbone, batch 32, 224 px, all layers, one epoch on
pictures of ../shared/data/anime_cartoon, or of the gallery. The figure is the peak in MB of the process and
its workers together, as the sum of proportional shares (PSS), which counts shared pages once.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from gather import TELLAPART, run_measured
from machine import describe, finish
from tellapart.model.backbone import Backbone, BackboneInfo
from tellapart.model.backbones import open_backbone
from tellapart.model.preprocess import PreprocessSpec
from tellapart.training.embed import Embedder, embed

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "anime_cartoon"
BACKBONE = "tf_efficientnet_lite0"
LIMIT = 1800.0  # seconds for one run of fine-tuning


@dataclass(frozen=True)
class Peak:
    seconds: float  # of embedding alone
    own: float  # MB
    total: float  # MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--finetune", action="store_true")
    parser.add_argument("--at-most", type=float)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        embed_here(options.child[0], int(options.child[1]), Path(options.child[2]))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        measure = measure_finetuning if options.finetune else measure_embedding
        value = measure(options, Path(scratch))
    finish("value", value, at_most=options.at_most)


def measure_embedding(options: argparse.Namespace, scratch: Path) -> float:
    counts = sorted(options.images)
    draw(counts[-1], scratch / "pictures")
    real = open_backbone(BACKBONE)
    length = real.dimensions["all"]
    write_network(real, "real", scratch)
    write_network(tiny(real), "tiny", scratch)
    jobs = [("real", min(1_000, counts[0])), *(("tiny", count) for count in counts)]
    print(
        f"{'network':<8}{'pictures':>9}{'own MB':>9}{'total MB':>10}{'vectors MB':>12}{'seconds':>9}"
    )
    own = []
    for network, count in jobs:
        peak = watch(network, count, scratch)
        own.append(peak.own)
        vectors = 4 * length * count / 1e6
        figures = f"{peak.own:>9.0f}{peak.total:>10.0f}{vectors:>12.0f}{peak.seconds:>9.1f}"
        print(f"{network:<8}{count:>9,}{figures}", flush=True)
    if len(counts) == 1:
        return own[-1]
    growth, more = own[-1] - own[-2], counts[-1] - counts[-2]
    print(f"{1e6 * growth / more:.0f} bytes a picture from {counts[-2]:,} to {counts[-1]:,}")
    return growth


def draw(count: int, folder: Path) -> None:
    """One JPEG with another comment in each file, a thousand to a folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize((64, 64)).save(file, "JPEG")
    head, rest = file.getvalue()[:2], file.getvalue()[2:]
    for number in range(count):
        path = folder / name(number)
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
        path.write_bytes(head + comment + rest)


def name(number: int) -> str:
    return f"{number // 1000:03}/{number:06}.jpg"


def watch(network: str, count: int, scratch: Path) -> Peak:
    """A process that embeds, and the largest figures that Linux gave of it meanwhile."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", network, str(count), str(scratch)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    own = total = 0.0
    while child.poll() is None:
        facts = status(child.pid)
        own, total = max(own, facts.get("RssAnon", 0.0)), max(total, facts.get("VmHWM", 0.0))
        time.sleep(0.02)
    assert child.stdout is not None
    if child.returncode:
        sys.exit(f"embedding {count} pictures ended with {child.returncode}")
    return Peak(json.loads(child.stdout.read()), own, total)


def status(pid: int) -> dict[str, float]:
    """The sizes in /proc/PID/status, in MB; none of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":") for line in lines if line.endswith(" kB"))
    return {key: int(value.split()[0]) * 1024 / 1e6 for key, value in pairs}


def embed_here(network: str, count: int, scratch: Path) -> None:
    """What the watched process does; it prints its seconds."""
    embedder = Embedder(read_network(network, scratch))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        paths = [name(number) for number in range(count)]
        features = embed(scratch / "pictures", paths, embedder, cache=Path(cache))
        seconds = time.perf_counter() - start
    if features.computed != count or not features.values[-1].any():
        sys.exit(f"{features.computed} of {count} pictures were embedded")
    print(json.dumps(seconds))


def write_network(network: Backbone, name: str, scratch: Path) -> None:
    """Made here: making a graph takes more memory than embedding, and would hide it."""
    (scratch / f"{name}.onnx").write_bytes(network.graph)
    facts = {"info": network.info.to_json(), "layout": network.layout}
    (scratch / f"{name}.json").write_text(json.dumps(facts))


def read_network(name: str, scratch: Path) -> Backbone:
    facts = json.loads((scratch / f"{name}.json").read_text())
    graph = (scratch / f"{name}.onnx").read_bytes()
    layout = tuple((part, length) for part, length in facts["layout"])
    return Backbone(BackboneInfo.from_json(facts["info"]), graph, sha256(graph), layout)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tiny(real: Backbone) -> Backbone:
    """The means of red, green and blue, mixed into as many numbers as the real one gives."""
    from onnx import TensorProto, helper, numpy_helper

    mix = np.random.default_rng(0).random((3, real.dimensions["all"]), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "mix"], ["features"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["B", 3, "H", "W"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", mix.shape[1]])],
        [numpy_helper.from_array(mix, "mix")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    raw = model.SerializeToString()
    info = replace(real.info, name="tiny", preprocess=PreprocessSpec(size=32))
    return Backbone(info, raw, sha256(raw), real.layout)


def measure_finetuning(options: argparse.Namespace, scratch: Path) -> float:
    data = some_pictures(scratch / "data", per_class=50)
    environment = {**os.environ, "TELLAPART_CACHE": str(scratch / "cache")}
    run = str(scratch / "run")
    steps = {
        "train": [str(TELLAPART), "train", str(data), "--out", run],
        "finetune": [
            str(TELLAPART), "finetune", run, "--epochs", "1", "--batch", "32", "--unfreeze", "all",
        ],
    }  # fmt: skip
    peak = 0.0
    for step, command in steps.items():
        cost = run_measured(command, scratch / "output.txt", environment, limit=LIMIT)
        peak = cost.megabytes * 1.048576  # it counts 1,048,576 bytes for one
        print(f"{step:<10}{peak:>7.0f} MB  {cost.seconds:>6.1f} s", flush=True)
    return peak


def some_pictures(folder: Path, per_class: int) -> Path:
    if not SHARED.is_dir():
        from tellapart.data.gallery import draw_gallery

        return draw_gallery(folder, per_class=per_class).root
    for source in sorted(path for path in SHARED.iterdir() if path.is_dir()):
        (folder / source.name).mkdir(parents=True)
        for file in sorted(source.iterdir())[:per_class]:
            shutil.copy(file, folder / source.name)
    return folder


if __name__ == "__main__":
    main()
