"""The page of `tellapart serve` in a real browser: pictures in every way, doubt, errors, and the token."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ship"))  # made_export and serving are theirs

from made_export import made_export
from serving import TOKEN, Slow, answered_by, picture

from tellapart.ship.server.server import ModelServer

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}
CLASSES = (
    "red",
    "green",
    "blue",
    "<b>bold</b>",
    "with a very long name that goes on and on",
    "e",
    "f",
    "g",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made_export(tmp_path_factory.mktemp("page") / "colours.onnx", CLASSES, strange_from=0.5)


@pytest.fixture
def start(model):
    """`start(**options)` gives a running server."""
    servers = []

    def go(**options):
        servers.append(ModelServer(model, workers=1, **options))
        return servers[-1].__enter__()

    yield go
    for server in servers:
        server.__exit__()


@pytest.fixture
def open_page(chromium):
    """`open_page(server, **options)` gives the page; what it says on its console fails the test, unless a
    part of it is in `page.expected`; so does every request that leaves the server."""
    contexts, pages = [], []

    def go(server, **options):
        contexts.append(chromium.new_context(locale="en-GB", **options))
        page = contexts[-1].new_page()
        page.heard, page.expected = [], []
        pages.append(page)
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("dialog", lambda dialog: (page.heard.append(dialog.message), dialog.accept()))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((server.url, "blob:")) or page.heard.append(request.url)
            ),
        )
        page.goto(server.url)
        return page

    yield go
    heard = [
        line for page in pages for line in page.heard
        if not any(part in line for part in page.expected)
    ]  # fmt: skip
    for context in contexts:
        context.close()
    assert heard == []


def ready(page):
    page.locator("#about").wait_for()


def choose(page, *files):
    page.set_input_files("#file", [
        {"name": name, "mimeType": "image/png", "buffer": content} for name, content in files
    ])  # fmt: skip


def answered(page, count):
    """Wait until so many cards have an answer, or a refusal."""
    page.wait_for_function(
        "n => document.querySelectorAll('#answers .answer, #answers .notice').length === n",
        arg=count,
    )


def violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


def test_chosen_pictures_are_answered_with_probabilities_and_doubt(start, open_page):
    server = start()
    page = open_page(server)
    ready(page)
    choose(page, ("red.png", picture("red", "PNG")), ("blue <i>x</i>.png", picture("blue", "PNG")))
    answered(page, 2)
    cards = page.locator("#answers article")
    first, second = cards.nth(1), cards.nth(0)  # the newest is on top
    assert first.locator(".answer").get_attribute("data-label") == "red"
    assert second.locator(".answer").get_attribute("data-label") == "blue"
    assert "blue <i>x</i>.png" in second.inner_text()
    assert page.locator("i, b").count() == 0
    assert first.locator(".bar").count() == 6
    answer = server.service.model.now.predictor.predict(picture("red", "PNG"))
    shown = float(first.locator(".answer").get_attribute("data-probability"))
    assert shown == pytest.approx(answer.probability, abs=1e-6)
    assert first.locator(".answer").get_attribute("data-verdict") == answer.verdict
    assert first.locator("img").get_attribute("alt") == "The picture red.png"
    assert first.locator("[role=status]").count() == 1


def test_a_broken_picture_says_why_and_the_others_are_answered(start, open_page):
    page = open_page(start())
    page.expected = ["ERR_"]
    ready(page)
    choose(
        page,
        ("cut.png", picture("red", "PNG", (400, 400))[:500]),
        ("a.png", picture("green", "PNG")),
    )
    answered(page, 2)
    text = page.locator("#answers").inner_text()
    assert "This picture cannot be used" in text
    assert page.locator('[data-label="green"]').count() == 1


def test_pictures_are_dropped_and_pasted(start, open_page):
    page = open_page(start())
    ready(page)
    send = """async ([kind, bytes]) => {
        const file = new File([new Uint8Array(bytes)], "given.png", { type: "image/png" });
        const data = new DataTransfer();
        data.items.add(file);
        if (kind === "paste") {
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        } else {
            for (const name of ["dragenter", "dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true }));
            }
        }
    }"""
    page.evaluate(send, ["drop", list(picture("blue", "PNG"))])
    answered(page, 1)
    page.evaluate(send, ["paste", list(picture("red", "PNG"))])
    answered(page, 2)
    labels = [one.get_attribute("data-label") for one in page.locator("#answers .answer").all()]
    assert labels == ["red", "blue"]
    assert page.locator(".over").count() == 0


def test_the_token_is_asked_for_and_kept_in_the_tab(start, open_page):
    page = open_page(start(token=TOKEN))
    page.expected = ["401"]
    page.locator("#token-form").wait_for()
    choose(page, ("red.png", picture("red", "PNG")))  # waits for the token too
    page.fill("#token", "a-wrong-token-of-somebody")
    page.keyboard.press("Enter")
    page.locator("#notice").filter(has_text="does not know this token").wait_for()
    page.fill("#token", TOKEN)
    page.locator("#token-form button").click()
    ready(page)
    answered(page, 1)
    assert page.locator('[data-label="red"]').count() == 1
    assert not page.locator("#token-form").is_visible()
    page.reload()
    ready(page)
    assert not page.locator("#token-form").is_visible()
    assert TOKEN not in page.content()
    assert page.evaluate("() => localStorage.length") == 0
    assert page.context.cookies() == []


def test_a_busy_server_is_asked_again(start, open_page):
    server = start()
    page = open_page(server)
    page.expected = ["503"]
    ready(page)
    with answered_by(server, Slow(), 0.001):
        server.service.admission.pictures = 4000  # four seconds
        choose(page, ("red.png", picture("red", "PNG")))
        page.locator("#answers").get_by_text("has much to do").wait_for()
        server.service.admission.pictures = 0
        answered(page, 1)
    assert page.locator('[data-label="red"]').count() == 1


def test_a_server_that_has_gone_is_named(start, open_page):
    server = start()
    page = open_page(server)
    page.expected = ["ERR_CONNECTION"]
    ready(page)
    server.stop()
    server._thread.join(20)
    choose(page, ("red.png", picture("red", "PNG")))
    page.locator("#answers .notice").get_by_text("does not answer").wait_for()


@pytest.mark.parametrize("name", SCREENS)
def test_axe_finds_nothing_and_nothing_overflows(name, start, open_page):
    page = open_page(start(), bypass_csp=True, **SCREENS[name])
    ready(page)
    assert violations(page) == []
    choose(
        page,
        ("one.png", picture("red", "PNG", (400, 300))),
        ("two.txt", b"none"),
        ("three.png", picture("green", "PNG")),
    )
    answered(page, 3)
    page.locator("#about summary").click()
    page.wait_for_timeout(400)  # the bars have grown
    if folder := os.environ.get("TELLAPART_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"serve-{name}.png", full_page=True)
    assert violations(page) == []
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_can_be_used_by_keyboard(start, open_page):
    page = open_page(start())
    given = {"name": "a.png", "mimeType": "image/png", "buffer": picture("green", "PNG")}
    page.on("filechooser", lambda chooser: chooser.set_files([given]))
    ready(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Enter")
    answered(page, 1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
