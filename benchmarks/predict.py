"""Prediction from an exported file against the bare ONNX Runtime, in turn in one run.

    python benchmarks/predict.py MODEL.onnx PICTURES... [--part process|single|files] [--at-most 1.15]

`process`: a whole process for one picture, against a script of fifteen lines with onnxruntime and Pillow;
`--python` names the interpreter of an environment with the base install alone. `single`: one warm picture,
file to answer, against decoding and a session as ONNX Runtime opens it. `files`: many files, against a
session of one thread for each CPU. Rounds alternate; the figure is the median of the rounds' ratios.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

import tellapart
from machine import describe, finish
from tellapart.data.cpus import cpu_count
from tellapart.ship.exported import ModelFile
from tellapart.ship.inputs import find_pictures

BARE = """\
import sys
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["tellapart"])
for path in sys.argv[2:]:
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    pixels = np.asarray(image)
    probabilities = session.run(["probabilities"], {"image": pixels})[0]
    best = int(probabilities.argmax())
    print(facts["classes"][best], probabilities[best], path)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--part", choices=["process", "single", "files"], default="single")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--at-least", type=float)
    parser.add_argument("--at-most", type=float)
    options = parser.parse_args()
    paths = list(find_pictures(options.pictures))
    print(describe())
    parts = {"process": process, "single": single, "files": files}
    ratio = parts[options.part](options, paths)
    finish("ratio", ratio, at_least=options.at_least, at_most=options.at_most)


def process(options: argparse.Namespace, paths: list[str]) -> float:
    """Seconds of the command, over those of the script."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "bare.py")
        script.write_text(BARE)
        command = options.python.with_name("tellapart")
        sides = {
            "script": [options.python, script, options.model, paths[0]],
            "tellapart": [command, "predict", options.model, paths[0]],
        }
        return alternate(
            {name: lambda words=words: subprocess.run(words, check=True, capture_output=True)
             for name, words in sides.items()}, options.rounds,
        )  # fmt: skip


def single(options: argparse.Namespace, paths: list[str]) -> float:
    """Seconds of `predict` over those of decoding and running a session, with all threads or one,
    whichever is faster."""
    predictor = tellapart.load(options.model)
    one = onnxruntime.SessionOptions()
    one.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(options.model, how) for how in (None, one)]
    decoder = ModelFile.open(options.model)
    some = paths[:40]

    def bare(session: onnxruntime.InferenceSession) -> None:
        for path in some:
            image = decoder.picture(Path(path).read_bytes(), path)
            session.run(["probabilities"], {"image": np.asarray(image)})

    def ours() -> None:
        for path in some:
            predictor.predict(path)

    sides = {"session": partial(bare, sessions[0]), "one thread": partial(bare, sessions[1])}
    return alternate({**sides, "tellapart": ours}, options.rounds, len(some))


def files(options: argparse.Namespace, paths: list[str]) -> float:
    """Pictures a second of `predict_many`, over those of sessions of one thread on every CPU."""
    paths = list(itertools.islice(itertools.cycle(paths), options.count))
    predictor = tellapart.load(options.model)
    decoder = ModelFile.open(options.model)
    one = onnxruntime.SessionOptions()
    one.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(options.model, one) for _ in range(cpu_count())]

    def bare() -> None:
        def work(number: int) -> None:
            for path in paths[number :: len(sessions)]:
                image = decoder.picture(Path(path).read_bytes(), path)
                sessions[number].run(["probabilities"], {"image": np.asarray(image)})

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sessions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def ours() -> None:
        assert sum(answer.error is None for answer in predictor.predict_many(paths)) == len(paths)

    return 1 / alternate({"sessions": bare, "tellapart": ours}, options.rounds, len(paths))


def alternate(sides: dict, rounds: int, count: int = 1) -> float:
    """The last side's time over the best of the others', the median of the rounds' ratios; one round warms
    up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides) if number % 2 else reversed(list(sides)):
            start = time.perf_counter()
            sides[name]()
            if number:
                taken[name].append((time.perf_counter() - start) / count)
    for name, times in taken.items():
        print(
            f"{name:>10}: {1000 * statistics.median(times):.1f} ms (least {1000 * min(times):.1f}), "
            f"{1 / statistics.median(times):.1f} a second"
        )
    *others, ours = taken.values()
    return statistics.median(b / min(a) for *a, b in zip(*others, ours, strict=True))


if __name__ == "__main__":
    main()
