"""A model file that changes while it is served."""

import io
import os
import threading
import time

import pytest
from made_export import made_export
from serving import Client, picture, until

from tellapart.errors import ModelError
from tellapart.ship.server import current_model
from tellapart.ship.server.server import ModelServer

CLASSES = ("red", "green", "blue")
OTHERS = ("rouge", "vert", "bleu", "jaune")


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(current_model, "_EACH", 0.05)
    return made_export(tmp_path / "model.onnx", CLASSES)


def put(made, place):
    """As one should: written aside, and renamed."""
    aside = made_export(place.parent / "aside", made)
    os.replace(aside, place)


def reloads(server, result):
    return Client(server).figure(f'tellapart_reloads_total{{result="{result}"}}')


def test_a_new_model_takes_over_and_no_request_fails(model):
    seen, failures, over = set(), [], threading.Event()

    def ask(server):
        client = Client(server, keep=True)
        while not over.is_set():
            answer = client.predict_form(*[picture("blue")] * 4)
            rows = answer.json.get("predictions", [])
            if answer.status != 200 or len({tuple(row["probabilities"]) for row in rows}) != 1:
                failures.append(answer.body)
            seen.update(row["label"] for row in rows)
        client.close()

    with ModelServer(model, workers=2) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number, classes in enumerate((OTHERS, CLASSES, OTHERS), 1):
            put(classes, model)
            until(lambda n=number: reloads(server, "ok") == n)
        over.set()
        for thread in threads:
            thread.join(30)
        assert Client(server).ask("/v1/model").json["classes"] == list(OTHERS)
        assert 'classes="4"' in Client(server).ask("/metrics").body.decode()
    assert failures == []
    assert seen == {"blue", "bleu"}


def test_a_file_that_is_none_leaves_the_old_model(model):
    log = io.StringIO()
    content = model.read_bytes()
    with ModelServer(model, workers=1, log=log) as server:
        client = Client(server)
        changed = content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]
        for number, broken in enumerate((b"no model", content[:-1000], changed), 1):
            model.write_bytes(broken)
            until(lambda n=number: reloads(server, "failed") == n)
            assert client.predict(picture("green")).json["label"] == "green"
            assert client.ask("/readyz").status == 200
        until(lambda: log.getvalue().count('"reload_failed"') == 3)
        model.write_bytes(content)
        until(lambda: reloads(server, "ok") == 1)
        assert client.predict(picture("green")).json["label"] == "green"


def test_a_file_that_goes_away_leaves_the_old_model(model):
    with ModelServer(model, workers=1) as server:
        client = Client(server)
        model.unlink()
        time.sleep(0.3)
        assert client.predict(picture()).status == 200
        made_export(model, OTHERS)
        until(lambda: client.predict(picture()).json["label"] == "rouge")
        assert reloads(server, "failed") == 0


def test_a_file_that_is_still_being_written_is_waited_for(model):
    """Written piece by piece in its place: no half of it is tried."""
    other = made_export(model.parent / "other", OTHERS).read_bytes()
    with ModelServer(model, workers=1) as server:
        client = Client(server)
        step = len(other) // 12
        with model.open("wb") as file:
            for start in range(0, len(other), step):
                file.write(other[start : start + step])
                file.flush()
                time.sleep(0.03)
        until(lambda: client.predict(picture()).json["label"] == "rouge")
        assert reloads(server, "failed") == 0


def test_without_reload_it_goes_on_with_the_same(model):
    with ModelServer(model, workers=1, reload=False) as server:
        put(OTHERS, model)
        time.sleep(0.4)
        assert Client(server).predict(picture()).json["label"] == "red"


def test_a_model_that_does_not_answer_is_refused(model):
    broken = made_export(model.parent / "broken", metrics={"valid": {"accuracy": float("nan")}})
    with pytest.raises(ModelError, match="metrics"):
        ModelServer(broken)
