"""A browser, reviews to look at with it, and a watch over all that goes wrong in its pages."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clean_server import CleanServer
from drawn_shapes import draw_many_classes, draw_shapes

CHROMIUM = os.environ.get("TELLAPART_CHROMIUM", "/usr/bin/chromium")
_GIVEN_UP = "net::ERR_ABORTED"  # a request that the page itself does not want any more


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs a browser at {CHROMIUM}, or where TELLAPART_CHROMIUM says")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("browser") / "shapes")


@pytest.fixture(scope="session")
def many_classes(tmp_path_factory) -> Path:
    return draw_many_classes(tmp_path_factory.mktemp("browser") / "many")


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[[Path], CleanServer]]:
    """`serve(data)` gives a running server with a journal of its own."""
    servers = []

    def start(data: Path) -> CleanServer:
        servers.append(CleanServer(data, tmp_path / f"review{len(servers)}.sqlite"))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(serve, shapes) -> CleanServer:
    return serve(shapes)


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., object]]:
    """`visit(url, **options of the context)` gives a page whose queue is there.

    Whatever a page says on its console, and every request that fails, fails the test, unless it is in
    `page.expected`, a list of patterns.
    """
    contexts, pages = [], []

    def go(url: str, *, beside: object = None, **options: object) -> object:
        context = (
            beside.context if beside else chromium.new_context(**{"locale": "en-GB", **options})
        )
        contexts.append(context)
        page = context.new_page()
        page.heard, page.expected = [], []
        pages.append(page)
        _listen(page)
        page.goto(url)
        page.wait_for_selector("#queues button[aria-current=true]")
        page.wait_for_selector(".card .label:not(:empty):visible, #empty:visible")
        return page

    yield go
    heard = [line for page in pages for line in page.heard if not _is_expected(page, line)]
    for context in contexts:
        context.close()
    assert not heard, heard


def _listen(page: object) -> None:
    page.on("console", lambda message: page.heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.heard.append(f"error: {error}"))
    page.on(
        "dialog", lambda dialog: (page.heard.append(f"dialog: {dialog.message}"), dialog.accept())
    )
    page.on("requestfailed", lambda request: page.heard.append(f"{request.url} {request.failure}"))
    page.on("response", lambda r: r.status >= 400 and page.heard.append(f"{r.url} {r.status}"))


def _is_expected(page: object, line: str) -> bool:
    return line.endswith(_GIVEN_UP) or any(re.search(pattern, line) for pattern in page.expected)


@pytest.fixture
def page(visit, server) -> object:
    """The review of the shapes, on a screen of a usual size."""
    return visit(server.url, viewport={"width": 1280, "height": 800})


@pytest.fixture
def shot() -> Callable[[object, str], None]:
    """`shot(page, name)` keeps a picture of the page below TELLAPART_SCREENSHOTS, if that is set."""
    folder = os.environ.get("TELLAPART_SCREENSHOTS")

    def take(page: object, name: str) -> None:
        if folder:
            page.wait_for_timeout(300)  # pictures that are coming
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take
