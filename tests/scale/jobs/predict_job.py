"""Predict on two nodes: harmed in the middle, killed and begun again, and printed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tellapart import load, predict_to
from tellapart.errors import EngineError
from tellapart.ship.predict_to import answers_to

TELLAPART = [sys.executable, "-m", "tellapart.cli.main"]


def job(nodes, model, table):
    local = predict_to(model, table, "local", rows=20)
    return {
        "local": [local.rows, local.failed, local.parts],
        **printed(nodes, model), **killed(nodes, model, table), **elsewhere(nodes, model, table),
        **harmed(nodes, model, table),  # the last: a node is gone after it
    }  # fmt: skip


def parts(folder):
    return {file.name: file.read_bytes() for file in sorted(Path(folder).glob("part-*"))}


def printed(nodes, model):
    """The lines of the command, and the answers in Python, in the order asked."""
    paths = [*(f"small/{i % 7}.png" for i in range(300)), "gone.png", "small/é.png"]
    command = [*TELLAPART, "predict", model, "-", "--json"]
    text = "\n".join(paths) + "\n"
    here = subprocess.run(command, input=text, capture_output=True, text=True)
    ray = ["--engine", "ray", "--address", nodes.address]
    there = subprocess.run([*command, *ray], input=text, capture_output=True, text=True)
    predictor = load(model)
    named = ["small/0.png", "\udcff.png"]
    answers = list(answers_to(predictor, named, engine="ray", address=nodes.address))
    wanted = list(predictor.predict_many(named))
    return {
        "printed": [here.returncode, there.returncode, len(there.stdout.splitlines())],
        "said": there.stderr.splitlines()[-1],
        "same_lines": here.stdout == there.stdout,
        "same_answers": [a.to_json() for a in answers] == [a.to_json() for a in wanted],
    }  # fmt: skip


def killed(nodes, model, table):
    """The driver by kill -9 in the middle, and the same command again; then Ctrl-C, likewise."""
    told = {}
    for name, number in (("killed", signal.SIGKILL), ("interrupted", signal.SIGINT)):
        command = [*TELLAPART, "predict", model, "--table", table, "--out", name, "--rows", "20"]
        command += ["--engine", "ray", "--address", nodes.address, "--quiet"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            end = time.monotonic() + 200
            while len(parts(name)) < 12 and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            before = len(parts(name))
            process.send_signal(number)
            said = process.communicate(timeout=60)[1]
        again = predict_to(model, table, name, rows=20, engine="ray", address=nodes.address)
        told[name] = {
            "status": process.returncode, "said": said[-300:], "before": before, "rows": again.rows,
            "kept": again.kept, "same": parts(name) == parts("local"),
            "asides": [file for file in os.listdir(name) if file.startswith(".")],
        }  # fmt: skip
    return told


def elsewhere(nodes, model, table):
    """A folder that the workers do not see: theirs has the name, and another job in it."""
    thread = threading.Thread(target=swap, args=("swapped",))
    thread.start()
    try:
        predict_to(model, table, "swapped", rows=20, engine="ray", address=nodes.address)
    except EngineError as error:
        return {"elsewhere": f"{error}"}
    finally:
        thread.join()
    return {"elsewhere": "not told"}


def swap(folder):
    file = Path(folder, "job.json")
    while not file.exists():
        time.sleep(0.01)
    file.write_text("{}")


def harmed(nodes, model, table):
    told = {}

    def harm():
        told["worker"] = nodes.kill_worker(1)
        time.sleep(2)
        nodes.kill_node(1)

    thread = threading.Thread(target=harm)
    thread.start()
    done = predict_to(model, table, "harmed", rows=20, engine="ray", address=nodes.address)
    thread.join()
    told |= {"rows": done.rows, "failed": done.failed, "same": parts("harmed") == parts("local")}
    return {"harmed": told}
