"""Fine-tuning by two nodes: left alone, with a worker killed, interrupted, spoilt, with a node killed."""

import os
import signal
import time
from pathlib import Path

import tellapart
from tellapart.errors import DatasetError


def job(nodes, run, epochs):
    options = tellapart.FinetuneOptions(int(epochs), "1e-4..1e-3", batch=8, ema=0.5)

    def train(name, at=lambda: None):
        heard = {"steps": [], "epochs": [], "notes": [], "total": 0}
        waiting = [at]

        def progress(what, done, total):
            heard["steps"].append(done)
            heard["total"] = total
            if done > total // 3 and waiting:
                waiting.pop()()

        began = time.monotonic()
        try:
            tellapart.finetune(
                run, options, start="stage-1", name=name, engine="ray", address=nodes.address, workers=2,
                progress=progress, on_epoch=lambda row: heard["epochs"].append(row.epoch),
                on_note=heard["notes"].append,
            )  # fmt: skip
        except (KeyboardInterrupt, DatasetError) as error:
            heard |= {"error": type(error).__name__, "said": str(error)}
        return {**heard, "seconds": round(time.monotonic() - began, 1)}

    told = {"alone": train("alone"), "worker": train("worker", lambda: nodes.kill_worker(1))}
    told["interrupted"] = train("interrupted", lambda: os.kill(os.getpid(), signal.SIGINT))
    told["spoilt"] = spoilt(run, train)
    told["node"] = train("node", lambda: nodes.kill_node(1))
    return told


def spoilt(run, train):
    """A training picture that cannot be read any more from the third of the steps on."""
    root = Path(tellapart.Run.load(run).info["dataset"]["root"])
    rows = (Path(run) / "dataset.csv").read_text().splitlines()
    files = [root / row.split(",")[0] for row in rows if ",train," in row]
    kept = {file: file.read_bytes() for file in files}

    def spoil():
        for file in files:
            file.write_bytes(b"no picture")

    try:
        return train("spoilt", spoil)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
