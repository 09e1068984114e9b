"""The page of `tellapart clean` without a mouse."""

import pytest
from page_steps import drawn, focused, open_queue, said, saved

pytestmark = pytest.mark.browser

FOCUS = """
() => {
  const element = document.activeElement;
  const ring = element.id === "grid" ? element.querySelector(".card.focus .picture") : element;
  return [element.id || element.dataset.do || element.tagName, getComputedStyle(ring).outlineStyle];
}
"""


def order(page):
    """The ids of the cards that exist, in the order of the queue."""
    cards = page.locator(".card").all()
    places = {
        int(card.get_attribute("aria-posinset")): card.get_attribute("data-id") for card in cards
    }
    return [int(places[place]) for place in sorted(places)]


def selected(page):
    drawn(page)
    chosen = page.locator('.card[aria-selected="true"]').all()
    ids = {int(card.get_attribute("data-id")) for card in chosen}
    return [id for id in order(page) if id in ids]


def test_a_whole_queue_by_keys_alone(page, server):
    left = int(page.locator('[data-value="label_errors"] .left').inner_text())
    keys = "k1xs23"
    for press in range(100):
        if page.locator("#empty").is_visible():
            break
        page.keyboard.press(keys[press % len(keys)])
        page.wait_for_timeout(30)
        if press % 10 == 9:
            page.wait_for_timeout(1200)  # the ranking is made anew
    page.locator("#empty").wait_for()
    assert len(server.decided()) >= left
    page.keyboard.press("q")
    page.wait_for_selector(".card .label:not(:empty):visible")
    assert page.locator('[data-value="label_errors"] .left').inner_text() == "0"


def test_keys_move_the_focus(page):
    open_queue(page, "random")
    ids = order(page)
    cards = page.locator(".card").all()[: len(ids)]
    columns = len({card.bounding_box()["x"] for card in cards})
    for key, place in (
        ("j", 1), ("n", 2), ("ArrowRight", 3), ("p", 2), ("ArrowLeft", 1), ("ArrowDown", 1 + columns),
        ("ArrowUp", 1), ("Home", 0), ("ArrowLeft", 0), ("ArrowUp", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert focused(page) == ids[place], key
    page.keyboard.press("End")
    last = focused(page)
    page.keyboard.press("j")
    assert focused(page) == last
    active = page.locator("#grid").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("data-id") == str(last)


def test_several_pictures_at_once(page, server):
    open_queue(page, "random")
    ids = order(page)
    page.keyboard.press("Space")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    assert selected(page) == [ids[0], ids[2]]
    assert page.locator("#count").inner_text() == "2 pictures"
    page.keyboard.press("Escape")
    assert selected(page) == []
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert selected(page) == ids[2:5]
    page.keyboard.press("Shift+ArrowLeft")
    assert selected(page) == ids[2:4]
    page.keyboard.press("x")
    saved(page, 2)
    assert {id: one["action"] for id, one in server.decided().items()} == dict.fromkeys(
        ids[2:4], "remove"
    )
    assert focused(page) == ids[4]
    page.keyboard.press("Control+z")
    said(page, "Undone: 2 pictures")
    assert server.decided() == {}


def test_all_at_once_and_the_mouse_too(page, server):
    open_queue(page, "random")
    ids = order(page)
    page.keyboard.press("a")
    drawn(page)
    everything = page.locator("#queues [aria-current=true] .left").inner_text()
    assert page.locator("#count").inner_text() == f"{everything} pictures"
    page.keyboard.press("Escape")
    page.locator(f'.card[data-id="{ids[1]}"]').click()
    page.locator(f'.card[data-id="{ids[3]}"]').click(modifiers=["Shift"])
    page.locator(f'.card[data-id="{ids[5]}"]').click(modifiers=["ControlOrMeta"])
    page.locator(f'.card[data-id="{ids[6]}"] .tick').click(force=True)
    assert selected(page) == [*ids[1:4], ids[5], ids[6]]
    page.locator("#chosen").get_by_role("button", name="Relabel").click()
    assert page.evaluate("document.activeElement.dataset.do") == "relabel"
    page.locator("#chosen").get_by_role("button", name="Keep").click()
    saved(page, 5)
    assert set(server.decided()) == {*ids[1:4], ids[5], ids[6]}


def test_a_held_key_decides_once(page, server):
    open_queue(page, "random")
    page.keyboard.down("k")
    page.keyboard.down("k")  # the second is a repetition
    page.keyboard.up("k")
    said(page, "saved")
    assert len(server.decided()) == 1


def test_typing_a_name_decides_nothing(page, server):
    page.locator("#who").click()
    page.keyboard.type("kx1 su")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "grid"
    assert server.decided() == {}
    page.keyboard.press("k")
    said(page, "saved")
    assert [one["who"] for one in server.decided().values()] == ["kx1 su"]


def test_the_help_lists_every_key_and_closes(page, shot):
    page.keyboard.press("?")
    help = page.locator("#help")
    help.wait_for()
    shot(page, "help")
    text = help.inner_text()
    for key in "K Enter X Delete S U J N P Space A Esc Z Q R ? L /".split():
        assert key in text.split(), key
    page.keyboard.press("k")  # nothing is decided behind it
    page.keyboard.press("Escape")
    help.wait_for(state="hidden")
    page.get_by_role("button", name="Help").click()
    help.get_by_role("button", name="Close").click()
    help.wait_for(state="hidden")


def test_everything_is_reached_with_tab(page):
    """Every button and field gets the focus in turn, and shows it."""
    seen = []
    page.locator("#filter").focus()
    for _ in range(60):
        name, outline = page.evaluate(FOCUS)
        assert outline != "none" or name == "BODY", name
        seen.append(name)
        page.keyboard.press("Tab")
    reached = "filter who undo help open grid step stage zoom decide relabel show"
    assert set(reached.split()) <= set(seen)


def test_a_button_keeps_enter_and_space_for_itself(page, server):
    open_queue(page, "random")
    id = focused(page)
    page.locator("#three").get_by_role("button", name="Remove").focus()
    page.keyboard.press("Enter")
    said(page, "saved")
    assert {one["id"]: one["action"] for one in server.decided().values()} == {id: "remove"}
    assert page.evaluate("document.activeElement.dataset.value") == "remove"


def test_a_new_ranking_is_asked_for(page):
    version = page.evaluate(
        "() => fetch('/api/state?since=0').then(r => r.json()).then(s => s.version)"
    )
    page.keyboard.press("r")
    page.wait_for_function(
        "v => fetch('/api/state?since=0').then(r => r.json()).then(s => s.version > v)", arg=version
    )
