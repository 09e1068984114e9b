"""Who gets an answer of the model server, and what its log does not tell."""

import io
import json

import pytest
from made_export import made_export
from serving import TOKEN, Client, connected, heard, picture, until

from tellapart.errors import UsageError
from tellapart.ship.server.access import Access, checked_token
from tellapart.ship.server.server import ModelServer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("guarded") / "colours.onnx")


@pytest.fixture(scope="module")
def guarded(model):
    with ModelServer(model, token=f"{TOKEN}\n", workers=1) as started:
        yield started


@pytest.fixture(scope="module")
def unguarded(model):
    with ModelServer(model, workers=1) as started:
        yield started


PLACES = {
    "/": 200, "/static/serve.js": 200, "/static/none": 404, "/healthz": 200, "/readyz": 200,
    "/openapi.json": 200, "/v1/model": 401, "/v1/predict": 401, "/metrics": 401, "/nothing": 401,
    "/v1/": 401, "//v1/model": 401, "/static": 401, "/healthz/": 401, "/V1/MODEL": 401,
}  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
def test_what_is_open_without_the_token(guarded, path):
    client = Client(guarded)
    answer = client.ask(path)
    assert answer.status == PLACES[path]
    if answer.status == 401:
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tellapart"'
        assert "Authorization: Bearer" in answer.error


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x",
     f"Bearer {TOKEN.upper()}", "Bearer \xe9\xff", f"Bearer {TOKEN}, Bearer {TOKEN}"],
)  # fmt: skip
def test_another_token_is_none(guarded, given):
    client = Client(guarded)
    assert client.ask("/v1/model", headers={"Authorization": given}).status == 401
    assert client.predict(picture(), headers={"Authorization": given}).status == 401


def test_two_headers_are_none(guarded):
    line = f"Authorization: Bearer {TOKEN}\r\n"
    with connected(guarded) as sock:
        sock.sendall(
            f"GET /v1/model HTTP/1.1\r\nHost: x\r\n{line}{line}Connection: close\r\n\r\n".encode()
        )
        assert heard(sock).startswith(b"HTTP/1.1 401 ")


def test_the_token_opens_from_any_host_and_page(guarded):
    client = Client(guarded, TOKEN)
    assert client.predict(picture()).status == 200
    assert client.ask("/metrics").status == 200
    assert client.ask("/v1/model", headers={"Authorization": f"bearer  {TOKEN}"}).status == 200
    assert client.ask("/v1/model", headers={"Host": "classifier.example"}).status == 200
    described = client.ask("/openapi.json").json
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert described["paths"]["/v1/predict"]["post"]["security"] == [{"token": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "with a blank in the middle", "é" * 20, "a\nb" * 9]
)
def test_a_token_that_is_none_is_refused(model, token):
    with pytest.raises(UsageError, match="openssl rand"):
        ModelServer(model, token=token)
    assert checked_token(None) is None


def test_other_hosts_are_refused_without_a_token(unguarded):
    client, port = Client(unguarded), unguarded.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert client.ask("/v1/model", headers={"Host": host}).status == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        "",
        "a:b",
    ):
        answer = client.ask("/v1/model", headers={"Host": host})
        assert answer.status == 403
        assert answer.error
        assert client.ask("/", headers={"Host": host}).status == 403


def test_other_pages_are_refused_without_a_token(unguarded):
    client = Client(unguarded)
    own = f"http://{client.host}"
    for headers in (
        {"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {},
    ):  # fmt: skip
        assert client.predict(picture(), headers=headers).status == 200
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://[broken"},
        {"Origin": f"http://127.0.0.1:{unguarded.port + 1}"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):  # fmt: skip
        answer = client.predict(picture(), headers=headers)
        assert answer.status == 403
        assert "other pages" in answer.error
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.ask("/", headers=link).status == 200
    assert client.ask("/v1/model", headers=link).status == 403


def test_a_server_for_all_machines_answers_to_any_name_but_to_no_other_page():
    access = Access("0.0.0.0", 8000, None)

    def refusal(*headers):
        scope = {"path": "/v1/predict", "method": "POST", "headers": list(headers)}
        return access.refusal(scope)

    assert refusal((b"host", b"classifier.example:8000")) is None
    https = (b"origin", b"https://classifier.example")
    assert refusal((b"host", b"classifier.example"), https) is None
    assert refusal((b"host", b"classifier.example:8000"), (b"origin", b"http://evil")).status == 403


def test_the_log_has_a_line_for_each_request_and_no_secret(model):
    stream = io.StringIO()
    with ModelServer(model, token=TOKEN, workers=1, log=stream) as server:
        client = Client(server, TOKEN)
        assert (
            client.predict_form(("private-name.jpg", picture()), b"private-content").status == 200
        )
        client.predict(b"private-content", headers={"X-Request-ID": "one-7"})
        client.ask("/private-place?token=private-query")
        client.ask("/v1/model", headers={"Authorization": "Bearer private-guess"})
        until(lambda: stream.getvalue().count("\n") >= 6)
    text = stream.getvalue()
    assert "private" not in text
    assert TOKEN not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "event"} <= set(line) for line in lines)
    asked = [line for line in lines if line["event"] == "request"]
    assert [(one["path"], one["status"]) for one in asked] == [
        ("/v1/predict", 200), ("/v1/predict", 415), ("other", 404), ("/v1/model", 401),
    ]  # fmt: skip
    assert (asked[0]["pictures"], asked[0]["unusable"]) == (2, 1)
    assert asked[0]["bytes"] > len(picture())
    assert asked[1]["id"] == "one-7"
    assert 0 < asked[0]["seconds"] < 30
    events = [line["event"] for line in lines]
    assert events[:2] == ["model_loaded", "serving"]
    assert events[-2:] == ["stopping", "stopped"]
