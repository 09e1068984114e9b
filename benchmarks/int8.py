"""Eight bits: how much faster and smaller, and what they cost, against float32 in one run.

    python benchmarks/int8.py [--data FOLDER] [--rounds 30] [--library] [--at-least 1.5]

For each embedded backbone a run is trained on pictures with their own split (../shared/data/art_style), 64
training pictures quantise its network, and held-out pictures are answered by both: the validation part
decides, the test part is told besides. Speeds are of ONNX Runtime sessions with one thread each, in turn,
A B A B …; a ratio is the median of theirs. With `--library` ONNX Runtime's own quantiser is scored too, on
the same pictures (MinMax, QDQ, uint8 and int8 per channel; also with its `reduce_range`). A converted
ResNet-34 with random weights is timed alone, where torch is installed. The last line is the default
backbone's ratio with one worker.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from machine import describe, finish
from tellapart.data.dataset import Dataset
from tellapart.data.images import decode
from tellapart.data.ordered_map import ordered_map
from tellapart.model.backbone import Backbone
from tellapart.model.runtime import open_session
from tellapart.ship.int8 import quantise
from tellapart.ship.int8_gate import compare_precisions
from tellapart.training.embed import Embedder, embed_again
from tellapart.training.run import Run
from tellapart.training.train import TrainOptions, open_dataset, train

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CALIBRATION = 64
BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=SHARED / "art_style")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--library", action="store_true")
    parser.add_argument("--at-least", type=float)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no pictures in {options.data}; name a folder with --data")
    print(describe())
    dataset = open_dataset(options.data)
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in BACKBONES:
            run = train(dataset, Path(scratch) / name, TrainOptions(name))
            ratios.append(score(run, dataset, options))
        if find_spec("torch") and find_spec("timm"):
            time_converted(dataset, options.rounds)
    finish("ratio", ratios[0], at_least=options.at_least)


def prepared(run: Run, dataset: Dataset) -> Iterator[np.ndarray]:
    """Training pictures as the network takes them, evenly over all."""
    rows = dataset.rows_of("train")
    for row in rows[np.linspace(0, len(rows) - 1, CALIBRATION).astype(int)]:
        yield run.preprocess.apply(decode((dataset.root / dataset.paths[row]).read_bytes()))


def score(run: Run, dataset: Dataset, options: argparse.Namespace) -> float:
    backbone = run.backbone()
    pictures = list(prepared(run, dataset))
    start = time.perf_counter()
    graph = quantise(backbone.graph, pictures)
    seconds = time.perf_counter() - start
    sizes = [len(each) / 1e6 for each in (backbone.graph, graph)]
    print(
        f"\n{backbone.info.name}, {run.probe.features} features: {sizes[0]:.1f} to {sizes[1]:.1f} MB, "
        f"quantised in {seconds:.1f} s with {CALIBRATION} pictures"
    )
    compare(run, dataset, graph, "tellapart")
    if options.library:
        for reduce_range in (False, True):
            other = by_library(backbone.graph, pictures, reduce_range=reduce_range)
            compare(run, dataset, other, f"ONNX Runtime's{', reduce_range' * reduce_range}")
    return speeds(backbone.graph, graph, pictures[0], options.rounds)


def compare(run: Run, dataset: Dataset, graph: bytes, name: str) -> None:
    """What the graph costs on the held-out pictures, with the run's own probe and rule."""
    backbone = run.backbone()
    other = Backbone(backbone.info, graph, hashlib.sha256(graph).hexdigest(), backbone.layout)
    for split in ("valid", "test"):
        rows = dataset.rows_of(split)
        features = [
            embed_again(dataset, rows, Embedder(each, run.preprocess)).values
            for each in (backbone, other)
        ]
        p, q = (run.probe.probabilities(values) for values in features)
        novelty = None if run.trust is None else run.trust.novelty
        scores = [None if novelty is None else novelty.scores(values) for values in features]
        gate = compare_precisions(
            p, q, dataset.targets[rows],
            float_novelty=scores[0], int8_novelty=scores[1],
            strange_from=None if novelty is None else novelty.threshold,
        )  # fmt: skip
        deviation = features[0].std(axis=0)
        seen = deviation > 1e-6
        off = (features[1] - features[0])[:, seen] / deviation[seen]
        print(
            f"  {name}, {split}: {gate.sentence()}; changes of probability: largest "
            f"{gate.largest_change:.3f}, mean {gate.mean_change:.4f}; features off by "
            f"{np.sqrt(np.square(off).mean()):.3f} deviations"
        )


def by_library(graph: bytes, pictures: list[np.ndarray], *, reduce_range: bool) -> bytes:
    """What onnxruntime.quantization makes of the same pictures."""
    import logging

    from onnx import load_model_from_string
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({"pixels": pixels} for pixels in self.left), None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises a step that this graph does not need
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "quantised.onnx"
        quantization.quantize_static(
            load_model_from_string(graph), path, Reader(),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True, reduce_range=reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Clip", "Add"],
        )  # fmt: skip
        return path.read_bytes()


def speeds(plain: bytes, small: bytes, pixels: np.ndarray, rounds: int) -> float:
    """Print both speeds with one worker and with two; the ratio with one."""
    sessions = [open_session(graph, workers=1) for graph in (plain, small)]
    answer = []
    for workers in (1, 2):
        ratios, rates = [], ([], [])
        for number in range(rounds + 1):  # the first round warms up
            both = [rate(session.run, pixels, workers) for session in sessions]
            if number:
                ratios.append(both[1] / both[0])
                for kept, each in zip(rates, both, strict=True):
                    kept.append(each)
        answer.append(statistics.median(ratios))
        quarters = statistics.quantiles(ratios, n=4)
        print(
            f"  {workers} worker{'s' * (workers > 1)}: {statistics.median(rates[0]):.0f} to "
            f"{statistics.median(rates[1]):.0f} pictures/s, {answer[-1]:.2f} times as fast "
            f"(half of the rounds: {quarters[0]:.2f} to {quarters[2]:.2f})"
        )
    return answer[0]


def rate(run: Callable[[np.ndarray], object], pixels: np.ndarray, workers: int) -> float:
    """Pictures a second, one picture a call."""
    count = 8 * workers
    start = time.perf_counter()
    list(ordered_map(lambda _: run(pixels), range(count), workers=workers))
    return count / (time.perf_counter() - start)


def time_converted(dataset: Dataset, rounds: int) -> None:
    import torch

    from tellapart.finetuning.convert import as_backbone
    from tellapart.finetuning.network import load_network

    torch.manual_seed(0)
    backbone = as_backbone(load_network("resnet34", pretrained=False))
    spec = backbone.info.preprocess
    rows = dataset.rows_of("train")[:8]
    pictures = [
        spec.apply(decode((dataset.root / dataset.paths[row]).read_bytes())) for row in rows
    ]
    graph = quantise(backbone.graph, pictures)
    print("\nresnet34, random weights")
    speeds(backbone.graph, graph, pictures[0], rounds)


if __name__ == "__main__":
    main()
