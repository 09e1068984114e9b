"""What the model server answers: to one picture, to many, to what is none, and what it says of itself."""

import json

import jsonschema
import numpy as np
import pytest
from made_export import made_export
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving import COLOURS, Client, answered_by, connected, head, heard, picture, until

import tellapart
from tellapart.errors import ModelError, UsageError
from tellapart.ship.listening import bind
from tellapart.ship.server.limits import Limits
from tellapart.ship.server.server import ModelServer

LIMITS = Limits(most_bytes=1 << 20, most_pixels=1_000_000, most_files=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("served") / "colours.onnx", strange_from=0.9)


@pytest.fixture(scope="module")
def server(model):
    with ModelServer(model, limits=LIMITS, workers=2) as started:
        yield started


@pytest.fixture
def client(server):
    opened = Client(server, keep=True)
    yield opened
    opened.close()


def test_a_picture_gets_the_predictors_own_answer(client, model):
    predictor = tellapart.load(model)
    for colour in COLOURS:
        for kind, content_type in (("JPEG", "image/jpeg"), ("PNG", "application/octet-stream")):
            content = picture(colour, kind)
            answer = client.predict(content, content_type)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json == {**predictor.predict(content).to_json(), "path": None}
            assert answer.json["label"] == colour


def test_no_content_type_is_a_picture(client):
    assert client.predict(picture(), None).json["label"] == "red"
    assert client.predict(picture(), "IMAGE/WHATEVER; a=b").json["label"] == "red"


def test_a_form_gets_a_list_in_its_order(client, model):
    names = ["a.jpg", "ü 猫 ☃.png", '<script>"x".jpg', "../../etc/passwd", "", "x" * 2000]
    colours = [*COLOURS, *COLOURS]
    parts = [
        (name.replace('"', "%22"), picture(colour))
        for name, colour in zip(names, colours, strict=True)
    ]
    rows = client.predict_form(*parts).json["predictions"]
    assert [row["label"] for row in rows] == colours
    assert [row["path"] for row in rows[:5]] == [part[0] for part in parts[:5]]
    assert rows[5]["path"] == "x" * 1000
    (row,) = client.predict_form(picture("blue"), name="anything").json["predictions"]
    assert (row["label"], row["path"]) == ("blue", "picture")
    assert row == tellapart.load(model).predict(picture("blue"), name="picture").to_json()


def test_a_broken_picture_among_many_has_its_row(client):
    before = client.figure('tellapart_pictures_total{result="error"}')
    cut = picture("green", size=(400, 400))[:3000]
    answer = client.predict_form(
        ("a.jpg", picture()),
        ("b.txt", b"hello"),
        ("c.jpg", cut),
        ("d", b""),
        ("e", picture("blue")),
    )
    assert answer.status == 200
    rows = answer.json["predictions"]
    assert [row["label"] for row in rows] == ["red", None, None, None, "blue"]
    assert [row["error"] and row["error"].partition(" (")[0] for row in rows] == [
        None, "not an image", "truncated", rows[3]["error"].partition(" (")[0], None,
    ]  # fmt: skip
    assert set(rows[1]) == set(rows[0])
    assert client.figure('tellapart_pictures_total{result="error"}') == before + 3
    assert client.figure('tellapart_picture_errors_total{reason="truncated"}') >= 1


def test_one_broken_picture_is_refused_with_the_reason(client):
    none = client.predict(b"<html>no picture</html>")
    assert none.status == 415
    assert "web page" in none.error
    cut = client.predict(picture(size=(400, 400))[:3000])
    assert cut.status == 422
    assert "ends early" in cut.error
    large = client.predict(picture(kind="PNG", size=(1001, 1000)))
    assert large.status == 422
    assert "too many pixels" in large.error
    assert client.predict(picture(kind="PNG", size=(1000, 1000))).status == 200


@pytest.mark.parametrize(
    ("kind", "body", "status", "says"),
    [
        ("image/png", b"", 400, "empty"),
        (None, b"", 400, "empty"),
        ("text/plain", b"x", 415, "content type"),
        ("application/json", b"{}", 415, "multipart/form-data"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "content type"),
        ("multipart/form-data", b"x", 400, "boundary"),
        (f"multipart/form-data; boundary={'b' * 300}", b"x", 400, "boundary"),
        ("multipart/form-data; boundary=b", b"", 400, "ends before"),
        ("multipart/form-data; boundary=b", b"no form", 400, "cannot be read"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "no picture"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400, "no file name"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
            400,
            "no file name",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--b',
            400,
            "ends before",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"a" * 9000, 400, ""),
        ("multipart/form-data; boundary=b", b"--b\r\nA: " + b"a" * 9000, 400, ""),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\n" + b"".join(b"A%d: %s\r\n" % (i, b"a" * 3000) for i in range(3)),
            400,
            "head of a part",
        ),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(client, kind, body, status, says):
    answer = client.predict(body, kind)
    assert answer.status == status
    assert says in answer.error


def test_a_content_encoding_is_refused(client):
    assert client.predict(picture(), headers={"Content-Encoding": "gzip"}).status == 415
    assert client.predict(picture(), headers={"Content-Encoding": "identity"}).status == 200


def test_too_much_is_413_before_it_is_read_and_while_it_is(client, server):
    with connected(server) as sock:
        sock.sendall(head(server, LIMITS.most_bytes + 1))
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
    with connected(server) as sock:
        sock.sendall(head(server, 10**19))
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
    pieces = (b"x" * 65536 for _ in range(17))
    answer = client.predict(pieces)  # in chunks, of an unknown length
    assert answer.status == 413
    assert "1 MiB" in answer.error
    assert client.predict(picture()).status == 200  # on the same connection
    exactly = picture() + bytes(LIMITS.most_bytes - len(picture()))
    assert client.predict(exactly).status == 200
    until(lambda: server.service.admission.bytes == 0)


def test_too_many_files_are_413(client):
    assert client.predict_form(*[picture()] * 8).status == 200
    answer = client.predict_form(*[picture()] * 9)
    assert answer.status == 413
    assert "8 pictures" in answer.error


def test_unknown_places_and_methods(client):
    assert "openapi" in client.ask("/nothing").error
    assert client.ask("/v1/predict/").status == 404
    assert client.ask("/static/none.js").status == 404
    assert client.ask("/static/..%2fapp.py").status == 404
    assert client.ask("/docs").status == 404
    wrong = client.ask("/v1/predict")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert wrong.error
    assert client.ask("/healthz", "DELETE").status == 405


def test_what_is_no_http_gets_a_400_of_the_same_shape(server):
    for nonsense in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"\x16\x03\x01\0\r\n\r\n",
    ):
        with connected(server) as sock:
            sock.sendall(nonsense)
            answer = heard(sock)
        top, _, body = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 400 ")
        assert b"content-security-policy: default-src 'none'" in top.lower()
        assert list(json.loads(body)) == ["error"]


def test_the_asker_may_name_a_request(client):
    assert (
        client.ask("/healthz", headers={"X-Request-ID": "abc-1.2"}).headers["X-Request-ID"]
        == "abc-1.2"
    )
    for odd in ("a b", "x" * 65, "é", ""):
        given = client.ask("/healthz", headers={"X-Request-ID": odd}).headers["X-Request-ID"]
        assert given not in (odd, "")
        assert len(given) == 16


def test_the_facts_are_told_and_no_paths(client, model):
    answer = client.ask("/v1/model")
    assert answer.json["classes"] == ["red", "green", "blue"]
    assert answer.json["metrics"]["valid"]["errors"] == 6
    assert answer.json["backbone"] == {"name": "averages", "licence": "Apache-2.0"}
    assert answer.json["rule"]["sure_from"] == 0.81
    assert answer.json["limits"]["most_files"] == 8
    assert str(model.parent).encode() not in answer.body
    assert b"made for a test" not in answer.body


def test_it_lives_and_is_ready(client):
    assert client.ask("/healthz").json == {"status": "ok"}
    assert client.ask("/readyz").json == {"status": "ready"}


def test_the_figures_are_prometheus_text_and_count(client):
    names = (
        'tellapart_requests_total{path="/v1/predict",status="200"}',
        'tellapart_pictures_total{result="sure"}',
    )
    before = [client.figure(name) for name in names]
    assert client.predict_form(picture(), picture("blue")).status == 200
    assert [client.figure(name) for name in names] == [before[0] + 1, before[1] + 2]
    families = {
        f.name for f in text_string_to_metric_families(client.ask("/metrics").body.decode())
    }
    assert {
        "tellapart_requests", "tellapart_pictures", "tellapart_picture_seconds", "tellapart_model_info",
        "tellapart_waiting_seconds", "tellapart_request_seconds", "tellapart_reloads",
        "tellapart_pictures_waiting", "tellapart_held_bytes", "process_resident_memory_bytes",
    } <= families  # fmt: skip
    client.ask("/some/secret/place?token=x")
    assert b"secret" not in client.ask("/metrics").body


def test_its_description_holds_for_its_answers(client):
    described = client.ask("/openapi.json").json
    assert set(described["paths"]) == {
        "/v1/predict",
        "/v1/model",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    answers = described["paths"]["/v1/predict"]["post"]["responses"]
    assert set(answers) == {"200", "400", "401", "403", "408", "413", "415", "422", "500", "503"}
    schema = answers["200"]["content"]["application/json"]["schema"]
    for example in answers["200"]["content"]["application/json"]["examples"].values():
        jsonschema.validate(example["value"], schema)
    for answer in (client.predict(picture()), client.predict_form(picture(), b"none")):
        jsonschema.validate(answer.json, schema)
    facts = described["paths"]["/v1/model"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]
    jsonschema.validate(client.ask("/v1/model").json, facts["schema"])
    for status, one in answers.items():
        assert status == "200" or "error" in one["content"]["application/json"]["example"]


def test_the_page_and_its_parts(client):
    page = client.ask("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    for name in ("serve.js", "answer.js", "page.css", "serve.css", "icon.svg"):
        assert client.ask(f"/static/{name}").status == 200
    assert b"<script>" not in page.body
    assert b"style=" not in page.body


def test_a_picture_that_the_network_cannot_compute_is_no_fault_of_the_server(client):
    class Breaks:
        classes = ("a",)
        seconds = 0.0

        def predict_beside(self, source, *, name=None):
            nothing = np.zeros(1, np.float32)
            return tellapart.Prediction(name, self.classes, nothing, "cannot be computed (why)")

    with answered_by(client.server, Breaks(), 0.001):
        assert client.predict(picture()).status == 422


def test_what_cannot_be_served_is_refused_at_the_start(tmp_path, model):
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"none\.onnx"):
        ModelServer(tmp_path / "none.onnx")
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UsageError, match="cannot be had"):
            ModelServer(model, port=taken.getsockname()[1])
    with pytest.raises(UsageError, match="deadline"):
        Limits(deadline=0)
    with pytest.raises(UsageError, match="most files"):
        Limits(most_files=-1)


def test_a_run_folder_is_served_too(tmp_path):
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(low, low + 100, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).resize((80, 60)).save(tmp_path / "data" / label / f"{i}.png")
    run = tellapart.train(tmp_path / "data", tmp_path / "run")
    with ModelServer(run.folder, workers=1) as server:
        client = Client(server)
        answer = client.predict((tmp_path / "data" / "light" / "1.png").read_bytes(), "image/png")
        assert answer.json["label"] == "light"
        assert client.ask("/v1/model").json["classes"] == ["dark", "light"]
        assert str(tmp_path).encode() not in client.ask("/v1/model").body
        client.close()
