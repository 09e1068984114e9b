"""train and check on this machine and on the cluster, each with a cache of its own."""

import os
from pathlib import Path

import tellapart


def job(nodes, data):
    os.environ["TELLAPART_CACHE"] = str(Path("local-cache").absolute())
    here = tellapart.train(data, "runs/here")
    local = tellapart.check(data)
    os.environ["TELLAPART_CACHE"] = str(Path("head-cache").absolute())
    cluster = {"engine": "ray", "address": nodes.address, "store": str(Path("store").absolute())}
    there = tellapart.train(data, "runs/there", **cluster)
    again = tellapart.train(data, "runs/again", **cluster)
    remote = tellapart.check(data, **cluster)
    names = ("dataset.csv", "predictions.csv", "failures.csv", "probe.safetensors")
    return {
        "files": {name: same(here.folder / name, there.folder / name) for name in names},
        "metrics": [here.info["metrics"], there.info["metrics"]],
        "computed": [run.info["computed"] for run in (here, there, again)],
        "findings": [local.rows(), remote.rows()],
        "failures": len(there.failures),
        "seconds": [run.info["seconds"] for run in (here, there, again)],
    }


def same(a, b):
    return a.read_bytes() == b.read_bytes()
