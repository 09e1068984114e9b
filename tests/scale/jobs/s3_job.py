"""train by two nodes from a bucket whose server fails; the same pictures at hand for comparison."""

import json
import os
from pathlib import Path

import tellapart
from web.s3_server import s3_server


def job(nodes, folder, faults):
    os.environ["TELLAPART_CACHE"] = str(Path("local-cache").absolute())
    here = tellapart.train(folder, "runs/here")
    os.environ["TELLAPART_CACHE"] = str(Path("head-cache").absolute())
    with s3_server(port=9009, slow_seconds=2.0) as server:
        server.put(folder, "art")
        Path("empty").mkdir()
        server.put("empty", "shards")
        server.new_faults(faults.split(","))
        cluster = {"engine": "ray", "address": nodes.address, "store": "s3://shards/art"}
        there = tellapart.train("s3://art/", "runs/there", **cluster)
        planted, asked = dict(server.planted), dict(server.asked)
        again = tellapart.train("s3://art/", "runs/again", **cluster)
        asked_again = {key: n - asked.get(key, 0) for key, n in server.asked.items()}
        answers = [answer.to_json() for answer in tellapart.load(there.folder).predict_many(
            [row[0] for row in there.predictions()][:3]
        )]  # fmt: skip
    pictures = "/art/"
    return {
        "planted": planted,
        "notes": there.notes,
        "asked": sorted({n for key, n in asked.items() if key.startswith(pictures)}),
        "asked again": sum(n for key, n in asked_again.items() if key.startswith(pictures)),
        "computed": [here.info["computed"], there.info["computed"], again.info["computed"]],
        "metrics": [here.info["metrics"], there.info["metrics"]],
        "predictions": [rows(here), [[row[0].removeprefix("s3://art/"), *row[1:]] for row in rows(there)]],
        "secrets": secrets_in(Path("runs")),
        "errors": [answer["error"] for answer in answers],
        "root": json.loads((there.folder / "run.json").read_text())["dataset"]["root"],
    }  # fmt: skip


def rows(run):
    return [list(row) for row in run.predictions()]


def secrets_in(folder):
    """Files of a run in which a credential stands."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    key = os.environ["AWS_ACCESS_KEY_ID"].encode()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files for word in (secret, key) if word in path.read_bytes()]
