"""Who gets an answer: only the page that was opened by its link, in the form that it asks in."""

import http.client
import json
import re
import socket
from importlib.resources import files

import pytest

from tellapart.errors import UsageError
from tellapart.review.access import MOST_BYTES, Access
from tellapart.review.journal import Journal
from tellapart.review.review import Review
from tellapart.review.server import ReviewServer, bind

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
DECISIONS = {
    "key": "batch-0001", "who": "ann", "queue": "random", "decisions": [{"id": 5, "action": "keep"}],
}  # fmt: skip


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Sends exactly what it is told, and looks at the headers of every answer."""

    def __init__(self, server):
        self.server, self.port = server, server.port
        self.host = f"127.0.0.1:{server.port}"
        self.cookie = f"{server.access.cookie}={server.access.token}"

    def ask(self, path, method="GET", headers=(), body=None, *, cookie=True, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            hosts = [self.host] if host is None else host
            given = [("Host", name) for name in hosts] + list(headers)
            given += [("Cookie", self.cookie)] if cookie else []
            if body is not None and "Transfer-Encoding" not in dict(given):
                given += [] if "Content-Length" in dict(given) else [("Content-Length", len(body))]
            for name, value in given:
                connection.putheader(name, value)
            connection.endheaders()
            if body is not None:
                connection.send(body)
            answer = Answer(connection.getresponse())
        finally:
            connection.close()
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert "no-store" in answer.headers["Cache-Control"] or answer.status in (200, 304)
        assert "server" not in {name.lower() for name in answer.headers}
        return answer

    def post(self, path, content, headers=(), **options):
        origin = [("Origin", f"http://{self.host}")] if options.pop("origin", True) else []
        kind = [] if "Content-Type" in dict(headers) else [("Content-Type", "application/json")]
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask(path, "POST", [*origin, *kind, *headers], body, **options)


@pytest.fixture(scope="module")
def client(subject, photos, tmp_path_factory):
    """For all that changes nothing."""
    file = tmp_path_factory.mktemp("access") / "review.sqlite"
    journal = Journal(file, root=photos, classes=("blue", "red"))
    with Review(subject, journal, "photos") as review, ReviewServer(review, who="ann") as server:
        yield Client(server)
        assert journal.since(0) == []


@pytest.fixture
def fresh(review):
    with ReviewServer(review, who="ann") as server:
        yield Client(server)


def test_the_link_is_exchanged_for_a_cookie(client):
    link = client.server.url.removeprefix(f"http://{client.host}")
    assert re.fullmatch(r"/\?token=[\w-]{43}", link)
    answer = client.ask(link, cookie=False)
    assert (answer.status, answer.headers["Location"], answer.body) == (303, "/", b"")
    assert answer.headers["Set-Cookie"] == f"{client.cookie}; Path=/; HttpOnly; SameSite=Strict"
    page = client.ask("/")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?token=",
        "/?token=wrong",
        "/?token=%FF%00",
        "/?token=%C3%A9",
    ],
)
def test_without_the_right_token_the_link_is_asked_for(client, path):
    answer = client.ask(path, cookie=False)
    assert answer.status == 401
    assert b"open" in answer.body.lower()
    assert b"<html" in answer.body
    assert "Set-Cookie" not in answer.headers


def test_two_tokens_are_none(client):
    token = client.server.access.token
    assert client.ask(f"/?token={token}&token=x", cookie=False).status == 401


@pytest.mark.parametrize(
    "path",
    ["/api/state", "/api/queue/random", "/api/pictures?ids=1", "/api/picture/1", "/thumb/1", "/full/1",
     "/static/app.js", "/nothing", "/openapi.json", "/docs"],
)  # fmt: skip
def test_every_route_needs_the_token(client, path):
    for cookie in (
        "",
        f"{client.server.access.cookie}=wrong",
        f"other={client.server.access.token}",
    ):
        answer = client.ask(path, headers=[("Cookie", cookie)], cookie=False)
        assert answer.status == 401
        assert "open" in answer.json["error"].lower() or "link" in answer.json["error"]
    token = client.server.access.token
    assert client.ask(f"{path.split('?')[0]}?token={token}", cookie=False).status == 401
    bearer = [("Authorization", f"Bearer {token}")]
    assert client.ask(path, headers=bearer, cookie=False).status in (200, 404)
    assert (
        client.ask(path, headers=[("Authorization", f"Basic {token}")], cookie=False).status == 401
    )
    assert client.ask(path, headers=[*bearer, *bearer], cookie=False).status == 401


@pytest.mark.parametrize(
    "host",
    [["evil.example:{}"], ["127.0.0.1"], ["127.0.0.1:1"], ["localhost.evil.example:{}"], [""],
     ["127.0.0.1:{}", "evil.example"], ["127.0.0.1.:{}"], ["127.0.0.1:{}@evil.example"], ["0:{}"]],
)  # fmt: skip
def test_another_host_is_refused(client, host):
    """As where another site's name was made to lead here (DNS rebinding)."""
    hosts = [name.format(client.port) for name in host]
    try:
        answer = client.ask("/api/state", host=hosts)
    except AssertionError:  # two hosts are no HTTP: refused before we see it
        assert len(hosts) == 2
        return
    assert answer.status == 403
    if len(hosts) == 1:
        link = f"/?token={client.server.access.token}"
        assert client.ask(link, host=hosts, cookie=False).status == 403


@pytest.mark.parametrize("host", ["localhost:{}", "LOCALHOST:{}", "[::1]:{}", "127.0.0.1:{}"])
def test_the_names_of_this_machine_are_good(client, host):
    assert client.ask("/api/state", host=[host.format(client.port)]).status == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{}", "http://localhost:{}",
     "http://127.0.0.1:{}.evil.example", "file://"],
)  # fmt: skip
def test_another_origin_is_refused(client, origin):
    origin = [("Origin", origin.format(client.port))]
    answer = client.post("/api/decisions", DECISIONS, origin, origin=False)
    assert (answer.status, client.server.review.journal.since(0)) == (403, [])
    assert client.ask("/api/state", headers=origin).status == 403


def test_a_post_says_where_it_comes_from(fresh):
    assert fresh.post("/api/decisions", DECISIONS, origin=False).status == 403
    assert fresh.server.review.journal.since(0) == []
    bearer = [("Authorization", f"Bearer {fresh.server.access.token}")]
    answer = fresh.post("/api/decisions", DECISIONS, bearer, origin=False, cookie=False)
    assert (answer.status, answer.json) == (200, {"last": 1})


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_other_sites_are_refused_but_their_links_work(client, site):
    site = [("Sec-Fetch-Site", site)]
    assert client.ask("/api/state", headers=site).status == 403
    assert client.ask("/", headers=site).status == 403
    assert client.post("/api/decisions", DECISIONS, site).status == 403
    wrong = client.ask("/?token=wrong", headers=site, cookie=False)
    assert (wrong.status, wrong.headers["Set-Cookie"]) == (401, None)
    right = client.ask(f"/?token={client.server.access.token}", headers=site, cookie=False)
    assert right.status == 200
    assert client.cookie in right.headers["Set-Cookie"]
    assert b'http-equiv="refresh"' in right.body
    assert client.server.access.token.encode() not in right.body
    for own in ("same-origin", "none"):
        assert client.ask("/api/state", headers=[("Sec-Fetch-Site", own)]).status == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx",
     "text/plain; application/json"],
)  # fmt: skip
def test_only_json_is_taken(client, kind):
    assert client.post("/api/decisions", DECISIONS, [("Content-Type", kind)]).status == 415
    assert client.server.review.journal.since(0) == []


def test_large_bodies_are_refused(fresh):
    large = json.dumps({**DECISIONS, "queue": "x" * MOST_BYTES}).encode()
    answer = fresh.post("/api/decisions", large)
    assert (answer.status, "256 KiB" in answer.json["error"]) == (413, True)
    claimed = [("Content-Length", "9" * 15)]
    assert fresh.post("/api/decisions", b"{}", claimed).status == 413
    chunks = b"".join(b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(9)) + b"0\r\n\r\n"
    chunked = [("Transfer-Encoding", "chunked")]
    assert fresh.post("/api/decisions", chunks, chunked).status == 413
    body = json.dumps(DECISIONS).encode()
    small = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert fresh.post("/api/decisions", small, chunked).status == 200


TRAVERSALS = [
    "../server.py", "..%2fserver.py", "%2e%2e%2fserver.py", "%2e%2e/server.py", "..%5cserver.py",
    "..%252fserver.py", "/etc/passwd", "%2fetc%2fpasswd", "%00", "app.js%00.png", "....//app.js", ".",
    "..", "__init__.py", "%FF", "APP.JS", "a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_path_leads_anywhere(client, name):
    secret = (files("tellapart.review") / "server.py").read_bytes()[:40]
    for path in (
        f"/static/{name}", f"/thumb/{name}", f"/full/{name}", f"/api/queue/{name}",
        f"/api/picture/{name}", f"/api/pictures?ids={name}", f"/api/pictures?ids=1&queue={name}",
        f"/api/picture/1?queue={name}", f"/api/queue/random?class={name}", f"/api/state?since={name}",
        f"/{name}",
    ):  # fmt: skip
        answer = client.ask(path)
        assert answer.status in (403, 404, 422), path
        assert secret not in answer.body
        assert b"root:" not in answer.body
        assert isinstance(answer.json["error"], str)


@pytest.mark.parametrize(
    "path",
    ["/thumb/41", "/full/41", "/thumb/-1", "/thumb/1.5", "/thumb/99999999999999999999", "/api/picture/41",
     "/api/pictures?ids=41", "/api/pictures?ids=", "/api/pictures?ids=1,,2", "/api/pictures?ids=-1",
     "/api/pictures?ids=1e3", "/api/pictures", "/api/pictures?ids=9999999999",
     "/api/queue/random?class=2", "/api/queue/random?class=-1", "/api/queue/nothing",
     "/api/state?since=-1", "/api/state?since=99999999999999999999", "/api/state?since=x"],
)  # fmt: skip
def test_unknown_ids_and_names_are_said_in_a_sentence(client, path):
    answer = client.ask(path)
    assert answer.status == 422
    assert re.match(r".{10,}", answer.json["error"])


def test_too_many_pictures_at_a_time(client):
    assert client.ask("/api/pictures?ids=" + ",".join(["1"] * 200)).status == 200
    assert client.ask("/api/pictures?ids=" + ",".join(["1"] * 201)).status == 422


@pytest.mark.parametrize(
    "change",
    [{"decisions": []}, {"decisions": [{"id": 1}]}, {"decisions": [{"id": "1", "action": "keep"}]},
     {"decisions": [{"id": 1.0, "action": "keep"}]}, {"decisions": [{"id": True, "action": "keep"}]},
     {"decisions": [{"id": 41, "action": "keep"}]}, {"decisions": [{"id": 10**30, "action": "keep"}]},
     {"decisions": [{"id": 1, "action": "undo"}]}, {"decisions": [{"id": 1, "action": "relabel"}]},
     {"decisions": [{"id": 1, "action": "relabel", "label": "red"}]},
     {"decisions": [{"id": 1, "action": "keep", "path": "../x"}]},
     {"decisions": [{"id": 1, "action": "keep"}] * 501}, {"decisions": {"id": 1}}, {"who": ""},
     {"who": "x" * 61}, {"who": None}, {"who": ["ann"]}, {"who": "\ud800"}, {"key": "short"},
     {"key": "x" * 65}, {"key": "batch 0001"}, {"key": "batch-0001\n"}, {"key": None}, {"queue": "none"},
     {"queue": "../x"}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_odd_decisions_are_refused_as_a_whole(client, change):
    answer = client.post("/api/decisions", {**DECISIONS, **change})
    assert answer.status == 422, answer.body
    assert len(answer.json["error"]) < 400
    assert client.server.review.journal.since(0) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"[" * 100_000, b'"\xff"', b"{}", b'{"id": NaN}', b"9" * 5000],
)
def test_bodies_that_are_none_are_refused(client, body):
    for path in ("/api/decisions", "/api/undo"):
        answer = client.post(path, body)
        assert answer.status in (400, 422), answer.body[:200]
        assert answer.json["error"]


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "NONSENSE"]
)
def test_other_methods_are_refused(client, method):
    for path in ("/", "/api/decisions", "/api/state", "/thumb/1"):
        assert client.ask(path, method).status == 405


def test_decisions_undo_and_rank_by_way_of_http(fresh):
    state = fresh.ask("/api/state").json
    assert (state["who"], state["last"], state["version"]) == ("ann", 0, 1)
    assert fresh.post("/api/decisions", DECISIONS).json == {"last": 1}
    assert fresh.post("/api/decisions", DECISIONS).json == {"last": 1}
    assert fresh.ask("/api/state?since=0").json["decisions"] == [
        {"id": 5, "action": "keep", "who": "ann"}
    ]
    undo = {"key": "undo-0001", "who": "ann"}
    assert fresh.post("/api/undo", undo).json == {"last": 2, "ids": [5]}
    assert fresh.post("/api/undo", undo).json == {"last": 2, "ids": [5]}
    assert fresh.post("/api/undo", {**undo, "key": "undo-0002"}).json == {"last": 2, "ids": []}
    assert fresh.ask("/api/state?since=1").json["decisions"] == [{"id": 5, "action": None}]
    assert fresh.post("/api/rank", {}).json == {"version": 1}
    while fresh.ask("/api/state").json["version"] == 1:
        pass
    assert len(fresh.ask("/api/queue/random?class=0").json["items"]) == 21
    assert fresh.ask("/api/picture/5?queue=random").json["history"][0]["undone"] is True
    assert fresh.ask("/api/pictures?ids=5,6&queue=decided").json["pictures"][1]["id"] == 6


def test_what_cannot_be_kept_is_not_answered_with_success(fresh):
    fresh.server.review.journal._database.execute("PRAGMA query_only = 1")
    answer = fresh.post("/api/decisions", DECISIONS)
    assert answer.status == 500
    assert "cannot be written" in answer.json["error"]
    fresh.server.review.journal._database.execute("PRAGMA query_only = 0")
    assert fresh.ask("/api/state").json["last"] == 0
    assert fresh.post("/api/decisions", DECISIONS).json == {"last": 1}


def test_a_fault_of_ours_is_one_sentence(client, monkeypatch):
    monkeypatch.setattr(client.server.review, "state", lambda since: 1 / 0)
    answer = client.ask("/api/state")
    assert (answer.status, answer.json) == (500, {"error": "Something went wrong in the server."})


def test_pictures_come_with_a_tag(client):
    first = client.ask("/thumb/5")
    assert (first.status, first.headers["Content-Type"]) == (200, "image/jpeg")
    assert first.body.startswith(b"\xff\xd8\xff")
    again = client.ask("/thumb/5", headers=[("If-None-Match", first.headers["ETag"])])
    assert (again.status, again.body) == (304, b"")
    assert client.ask("/full/5").headers["ETag"] != first.headers["ETag"]


def test_the_files_of_the_page_are_served_with_their_types(client):
    folder = files("tellapart.review") / "static"
    kinds = {
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
    }
    names = [e.name for e in folder.iterdir() if e.name.rsplit(".", 1)[-1] in kinds]
    assert "index.html" in names
    for name in names:
        answer = client.ask(f"/static/{name}")
        assert answer.status == 200
        assert answer.body == (folder / name).read_bytes()
        assert answer.headers["Content-Type"].startswith(kinds[name.rsplit(".", 1)[-1]])


def test_a_ticket_opens_the_page_once(client):
    ticket = client.server.access.ticket()
    assert ticket != client.server.access.token
    first = client.ask(f"/?token={ticket}", cookie=False)
    assert (first.status, client.cookie in first.headers["Set-Cookie"]) == (303, True)
    assert client.ask(f"/?token={ticket}", cookie=False).status == 401
    bearer = [("Authorization", f"Bearer {client.server.access.ticket()}")]
    assert client.ask("/api/state", headers=bearer, cookie=False).status == 401


def test_two_servers_do_not_know_each_others_tokens(client, subject, journal):
    with Review(subject, journal, "photos") as other, ReviewServer(other) as server:
        assert server.port != client.port
        theirs = [("Cookie", f"{client.server.access.cookie}={server.access.token}")]
        assert client.ask("/api/state", headers=theirs, cookie=False).status == 401


@pytest.mark.parametrize(
    ("asked", "host", "good"),
    [
        ("0.0.0.0", "192.168.1.5:80", True),
        ("0.0.0.0", "192.168.1.5", True),
        ("::", "[fe80::1]:80", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", "evil.example:80", False),
        ("0.0.0.0", "192.168.1.5:81", False),
        ("box.example", "Box.Example", True),
        ("box.example", "192.168.1.5", False),
        ("127.0.0.1", "192.168.1.5", False),
        ("127.0.0.1", "[::1]", True),
    ],
)
def test_beyond_this_machine_only_what_was_asked_for(asked, host, good):
    access = Access(80, asked)
    refusal = access.refusal("GET", [(b"host", host.encode())])
    assert (refusal is None) == good


def test_a_port_that_is_taken_is_said_at_once():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=r"cannot be had.*--port"):
            bind("127.0.0.1", port)
    with pytest.raises(UsageError, match="no address of this machine"):
        bind("no.such.host.invalid", 0)
