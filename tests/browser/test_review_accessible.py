"""The page of `tellapart clean` in light and dark, on a phone, and as axe sees it."""

import pytest
from page_steps import drawn, open_queue

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}


def violations(page):
    """What axe finds; its source is run past the policy of the page, which allows no script but its own."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("name", SCREENS)
def test_axe_finds_nothing(name, visit, server, shot):
    page = visit(server.url, bypass_csp=True, **SCREENS[name])
    shot(page, name)
    assert violations(page) == []
    ids = [int(card.get_attribute("data-id")) for card in page.locator(".card").all()]
    decisions = [
        {"id": ids[0], "action": "keep"}, {"id": ids[1], "action": "unsure"},
        {"id": ids[2], "action": "remove"}, {"id": ids[3], "action": "relabel", "label": 0},
    ]  # fmt: skip
    sent = {"key": "the-key-of-bob", "who": "bob", "queue": "label_errors", "decisions": decisions}
    server.ask("/api/decisions", sent)
    page.wait_for_selector(".card .badge:not(:empty)")
    if "phone" in name:
        page.locator(".card").nth(1).tap()
        page.locator("#panel").wait_for()
    drawn(page)
    shot(page, f"{name}-decided")
    assert violations(page) == []
    page.keyboard.press("a")
    drawn(page)
    shot(page, f"{name}-selected")
    assert violations(page) == []
    page.keyboard.press("?")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("z")
    assert violations(page) == []
    shot(page, f"{name}-zoomed")


def test_a_phone_needs_no_keys(visit, server):
    page = visit(server.url, **SCREENS["phone"])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert not page.locator("#panel").is_visible()
    page.locator(".card").first.tap()
    page.locator("#panel").wait_for()
    page.locator("#three").get_by_role("button", name="Remove").tap()
    page.locator("#said").filter(has_text="saved").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Undo").tap()
    page.locator("#said").filter(has_text="Undone").wait_for()
    page.get_by_role("button", name="Back to all pictures").tap()
    page.locator("#panel").wait_for(state="hidden")
    page.locator(".card .tick").first.tap()
    page.locator("#chosen").get_by_role("button", name="Keep").tap()
    page.locator("#said").filter(has_text="saved").wait_for()
    assert [one["action"] for one in server.decided().values()] == ["keep"]


def test_motion_is_reduced_where_people_ask_for_it(visit, server):
    page = visit(server.url, reduced_motion="reduce")
    open_queue(page, "random")
    page.evaluate("() => document.body.classList.add('training')")
    assert page.locator("#training").evaluate("e => getComputedStyle(e).animationName") == "none"
