"""A server that goes away in the middle: nothing is lost, and nothing is said to be saved that is not."""

import pytest
from page_steps import drawn, open_queue, said, saved

pytestmark = pytest.mark.browser
# What a browser says of a server that is killed, perhaps in the middle of an answer.
GONE = ["ERR_CONNECTION_", "ERR_EMPTY_RESPONSE", "ERR_CONTENT_LENGTH_MISMATCH", "ERR_INCOMPLETE_"]


def keys_sent(page):
    """The key of every request that posts decisions, in order."""
    keys = []
    page.on(
        "request",
        lambda request: (
            keys.append(request.post_data_json["key"])
            if request.url.endswith("/decisions")
            else None
        ),
    )
    return keys


def test_saved_with_the_same_key_when_the_server_is_back(page, server, visit, shot):
    page.expected += [*GONE, "401"]
    open_queue(page, "random")
    sent = keys_sent(page)
    server.kill()
    page.keyboard.press("x")
    page.keyboard.press("k")
    banner = page.locator("#banner")
    banner.filter(has_text="Not saved yet: 2 decisions; trying again").wait_for()
    drawn(page)
    assert page.locator(".card.pending .badge").all_inner_texts() == ["✕ Removed", "✓ Kept"]
    shot(page, "not-saved")
    server.start()  # another token: the page is not let in any more
    banner.filter(has_text="open the link").wait_for()
    assert page.locator(".card.pending").count() == 2
    visit(server.url, beside=page)
    banner.filter(has_text="Not saved").wait_for(state="hidden")
    saved(page, 2)
    assert sorted(one["action"] for one in server.decided().values()) == ["keep", "remove"]
    assert len(set(sent)) == 2  # a key for each, however often it was sent
    assert len(sent) > 4


def test_leaving_warns_while_something_is_not_saved(page, server):
    page.expected += [*GONE, "dialog"]
    warned = []
    page.on("dialog", lambda dialog: warned.append(dialog.type))
    server.kill()
    page.keyboard.press("x")
    page.locator("#banner").filter(has_text="Not saved yet: 1 decision;").wait_for()
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert warned == ["beforeunload"]
    server.start()


def test_a_decision_is_pending_until_the_server_has_answered(page, server):
    open_queue(page, "random")
    server.pause()
    page.keyboard.press("x")
    drawn(page)
    assert page.locator(".card.pending .badge").all_inner_texts() == ["✕ Removed"]
    assert "not saved yet" in page.locator(".card.pending").get_attribute("aria-label")
    server.go_on()
    saved(page, 1)
    said(page, "saved")


def test_what_the_server_refuses_is_not_shown_as_saved(page, server):
    page.expected += ["422"]
    page.locator("#who").fill(20 * "a\u202e")  # too long when it is spelt out
    page.locator("#who").press("Enter")
    page.keyboard.press("x")
    said(page, "the server refuses")
    drawn(page)
    assert page.locator(".card .badge:not(:empty)").count() == 0
    assert server.decided() == {}
