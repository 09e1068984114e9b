"""Sums over parts, while a worker and then a node is killed."""

import threading
import time

from tellapart.errors import DatasetError
from tellapart.scale.ray_map import connected, map_parts


def square(shared, part):
    time.sleep(0.2)
    return {"name": part["name"], "square": part["number"] ** 2 + shared}


def refuse(shared, part):
    raise DatasetError(f"{part['name']} is full. Make room.")


def job(nodes):
    def harm():
        told["worker"] = nodes.kill_worker(1)
        time.sleep(3)
        nodes.kill_node(1)

    told = {}
    thread = threading.Thread(target=harm)
    with connected(nodes.address) as cpus:
        thread.start()
        parts = ({"name": "\udcff.jpg", "number": number} for number in range(60))
        receipts = list(map_parts(square, 100, parts))
        thread.join()
        try:
            list(map_parts(refuse, None, [{"name": "the disk"}]))
        except DatasetError as error:
            told["error"] = f"{error}"
    return {
        **told, "cpus": cpus, "names": sorted({ascii(r["name"]) for r in receipts}),
        "squares": sorted(r["square"] for r in receipts),
    }  # fmt: skip
