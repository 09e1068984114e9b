"""The page of `tellapart clean`: decisions are taken, saved, undone, and seen by others."""

import pytest
from drawn_shapes import HOSTILE, MANY, WRONG
from page_steps import drawn, focused, open_queue, said, saved

pytestmark = pytest.mark.browser


def test_wrong_labels_come_first_with_what_the_model_thinks(page, server):
    ids = [int(card.get_attribute("data-id")) for card in page.locator(".card").all()]
    wrong = {server.names()[name] for name in WRONG}
    assert len(wrong & set(ids[:8])) >= 5
    assert page.title() == "shapes – tellapart clean"
    assert "circle" in page.locator("#classes button").nth(0).inner_text()
    shares = page.locator("#classes .share").all_inner_texts()
    numbers = [float(share.removesuffix(" %").split("·")[-1]) for share in shares]
    assert sum(numbers) == pytest.approx(100, abs=2)
    assert page.locator("#error").get_attribute("aria-label").count("error rate") == 2
    assert page.locator("#neighbours button").count() == 10


def test_each_decision_is_saved_and_the_next_picture_comes(page, server):
    open_queue(page, "random")
    taken = {}
    for name in ("Keep", "Not sure", "Remove"):
        taken[focused(page)] = name
        page.locator("#three").get_by_role("button", name=name).click()
    taken[focused(page)] = "relabel"
    given = page.locator("#facts .given").inner_text()
    other = page.locator("#classes button[aria-pressed=false]").first
    name = other.locator(".name").inner_text()
    other.click()
    saved(page, 4)
    assert name != given
    badges = page.locator(".card .badge:not(:empty)").all_inner_texts()
    assert badges == ["✓ Kept", "? Not sure", "✕ Removed", f"→ {name}"]
    kept = server.decided()
    actions = {"Keep": "keep", "Not sure": "unsure", "Remove": "remove", "relabel": "relabel"}
    assert {id: one["action"] for id, one in kept.items()} == {
        id: actions[name] for id, name in taken.items()
    }
    assert {one["who"] for one in kept.values()} == {"ann"}
    assert focused(page) not in kept


def test_the_label_that_was_given_is_kept_not_set(page, server):
    id = focused(page)
    page.locator("#classes button[aria-pressed=true]").click()
    said(page, "saved")
    assert server.decided()[id]["action"] == "keep"


def test_a_reload_keeps_everything(page, server):
    open_queue(page, "random")
    for key in "kxs":
        page.keyboard.press(key)
    saved(page, 3)
    page.locator("#who").fill("bob")
    page.locator("#who").press("Enter")
    page.reload()
    page.wait_for_selector(".card .label:not(:empty)")
    assert page.locator("#who").input_value() == "bob"
    assert page.locator("#queues button[aria-current=true] .title").inner_text() == "At random"
    assert page.locator('#queues button[data-value="decided"] .left').inner_text() == "3"
    open_queue(page, "decided")
    assert page.locator(".card .badge").all_inner_texts() == [
        "? Not sure · ann", "✕ Removed · ann", "✓ Kept · ann"
    ]  # fmt: skip
    assert len(server.decided()) == 3


def test_undo_goes_back_to_the_beginning(page, server):
    open_queue(page, "random")
    first = focused(page)
    for key in "kx1s":
        page.keyboard.press(key)
    saved(page, 4)
    # The ranking is made anew, and what is decided leaves.
    page.wait_for_function("() => !document.querySelector('.card .badge:not(:empty)')")
    for left in (3, 2, 1, 0):
        page.get_by_role("button", name="Undo").click()
        page.wait_for_function(
            "n => document.querySelector('[data-value=decided] .left').textContent === String(n)",
            arg=left,
        )
    assert server.decided() == {}
    page.wait_for_function(f"() => document.querySelector('.card.focus')?.dataset.id === '{first}'")
    page.keyboard.press("u")
    said(page, "Nothing is left")


def test_two_tabs_see_each_other(page, visit, server):
    open_queue(page, "random")
    other = visit(server.url, viewport={"width": 1280, "height": 800})
    open_queue(other, "random")
    other.locator("#who").fill("bob")
    other.locator("#who").press("Enter")
    id = focused(other)
    other.keyboard.press("x")
    badge = page.locator(f'.card[data-id="{id}"] .badge')
    page.wait_for_function(
        "id => document.querySelector(`.card[data-id='${id}'] .badge`)?.textContent", arg=id
    )
    assert badge.inner_text() == "✕ Removed · bob"
    assert focused(page) == id  # what is looked at stays in focus
    page.keyboard.press("k")  # the later decision counts
    other.wait_for_function(
        "id => document.querySelector(`.card[data-id='${id}'] .badge`)?.textContent.includes('ann')",
        arg=id,
    )
    page.keyboard.press("u")
    said(page, "Undone")
    page.locator("#facts .badge").filter(has_text="Removed · bob").wait_for()
    assert server.decided()[id]["who"] == "bob"


def test_the_picture_in_focus_stays_when_the_ranking_is_made_anew(page):
    open_queue(page, "top_losses")
    for _ in range(10):
        page.keyboard.press("k")
    id = focused(page)
    top = page.locator(".card.focus").bounding_box()["y"]
    page.wait_for_function(
        "() => document.querySelectorAll('.card .badge:not(:empty)').length === 0"
    )
    assert focused(page) == id
    assert page.locator(".card.focus").bounding_box()["y"] <= top


def test_a_hostile_name_is_text_and_nothing_runs(page, server):
    id = server.names()[HOSTILE]
    page.evaluate("() => { window.alert = () => { window.ran = true; }; }")
    card = page.locator(f'.card[data-id="{id}"]')
    card.click()
    drawn(page)
    assert page.locator("#panel h2").inner_text() == HOSTILE
    assert card.get_attribute("aria-label").startswith(HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    page.keyboard.press("k")
    said(page, "saved")
    assert page.evaluate("window.ran") is None


def test_copies_are_side_by_side_and_one_decision_is_enough(page, server, shot):
    open_queue(page, "copies")
    groups = page.locator('.item[role="group"]')
    assert groups.count() == 3
    assert groups.first.locator(".card").count() == 2
    left, right = (card.bounding_box() for card in groups.first.locator(".card").all())
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    shot(page, "copies")
    ids = {int(card.get_attribute("data-id")) for card in groups.first.locator(".card").all()}
    page.keyboard.press("x")
    said(page, "saved")
    assert focused(page) not in ids
    assert len(server.decided()) == 1


def test_a_neighbour_is_looked_at_and_decided(page, server):
    open_queue(page, "random")
    before = focused(page)
    page.wait_for_selector("#neighbours button")
    thumb = page.locator("#neighbours button").first
    id = int(thumb.get_attribute("data-value"))
    thumb.click()
    page.wait_for_function(
        "id => document.querySelector('#stage img').src.endsWith('/' + id)", arg=id
    )
    page.locator("#three").get_by_role("button", name="Remove").click()
    said(page, "saved")
    assert list(server.decided()) == [id]
    assert before != id


def test_one_class_alone(page, server):
    open_queue(page, "random")
    page.locator("#filter").select_option("2")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .label')].every(l => l.textContent === 'stripes')"
        " && document.querySelector('.card .label')"
    )
    page.locator("#filter").select_option("")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .label')].some(l => l.textContent === 'circle')"
    )


def test_an_empty_queue_says_what_to_do_next(page):
    open_queue(page, "shortcuts")
    if page.locator(".card").count():
        page.keyboard.press("a")
        page.keyboard.press("k")
    page.wait_for_selector(".empty #empty")
    assert "--apply" in page.locator("#empty").inner_text()
    page.get_by_role("button", name="Go to the next queue").click()
    page.wait_for_selector(".card .label:not(:empty)")


def test_history_tells_who_decided_what(page):
    open_queue(page, "random")
    id = focused(page)
    page.keyboard.press("x")
    page.keyboard.press("p")
    page.wait_for_selector("#history li")
    page.keyboard.press("u")
    page.wait_for_selector("#history .undone:not(:empty)")
    assert focused(page) == id
    entry = page.locator("#history li").first.inner_text()
    assert "Removed" in entry
    assert "by ann" in entry


def test_zoom_shows_every_pixel_and_is_dragged(page, shot):
    page.wait_for_function("() => document.querySelector('#stage img').naturalWidth === 96")
    small = page.locator("#stage img").bounding_box()
    page.keyboard.press("z")
    large = page.locator("#stage img").bounding_box()
    assert large["width"] > small["width"]
    assert page.locator("#zoom").get_attribute("aria-pressed") == "true"
    shot(page, "zoom")
    page.keyboard.press("Escape")
    assert page.locator("#stage img").bounding_box() == small
    page.locator("#stage").click(position={"x": 5, "y": 5})
    assert page.locator("#zoom").get_attribute("aria-pressed") == "true"


def test_more_classes_than_digits(visit, serve, many_classes, shot):
    server = serve(many_classes)
    page = visit(server.url, viewport={"width": 1280, "height": 800})
    open_queue(page, "random")
    id = focused(page)
    page.keyboard.press("/")
    drawn(page)
    assert page.evaluate("document.activeElement.id") == "typed"
    page.keyboard.type("LASS 1")
    names = page.locator("#classes .name").all_inner_texts()
    assert sorted(names) == ["class 10", "class 11", "class 12"]
    page.locator("#typed").fill("حص")
    page.keyboard.press("Enter")
    said(page, "saved")
    decision = server.decided()[id]
    classes = server.ask("/api/state?since=0")["classes"]
    assert decision["action"] == "keep" or classes[decision["label"]] == "حصان"
    assert page.locator("#typed").input_value() == ""
    assert set(classes) >= {name for name in MANY if name.isascii()}
    page.keyboard.press("9")
    page.wait_for_function(
        "() => document.querySelectorAll('.card .badge:not(:empty)').length === 2"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "many-classes")
