"""Five thousand pictures: only those near the viewport are there, and scrolling goes on smoothly."""

import pytest
from many_pictures import ManyPictures
from page_steps import drawn

pytestmark = pytest.mark.browser

COUNT = 5000

FRAMES = """
async (speed) => {
  const grid = document.getElementById("grid"), lengths = [], cards = [];
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let before = await frame();
  for (let i = 0; i < 150; i += 1) {
    grid.scrollTop += speed;
    const now = await frame();
    lengths.push(now - before);
    cards.push(document.querySelectorAll(".card").length);
    before = now;
  }
  return [lengths.sort((a, b) => a - b), Math.max(...cards), grid.scrollTop];
}
"""


@pytest.fixture(scope="module")
def many():
    with ManyPictures(COUNT) as server:
        yield server


def long_frames(lengths, usual):
    return sum(length > 3 * usual for length in lengths) / len(lengths)


@pytest.mark.parametrize("size", [(1440, 900), (3840, 2160), (390, 844)])
def test_cards_are_few_wherever_one_scrolls(size, visit, many):
    page = visit(many.url, viewport={"width": size[0], "height": size[1]})
    height = page.locator("#grid").evaluate("grid => grid.scrollHeight")
    for share in (0, 0.1, 0.5, 0.9, 1):
        page.locator("#grid").evaluate("(grid, top) => (grid.scrollTop = top)", share * height)
        drawn(page)
        assert 4 <= page.locator(".card").count() <= 150
        shown = page.locator(".card").evaluate_all(
            "cards => cards.filter(c => { const b = c.getBoundingClientRect();"
            " return b.bottom > 0 && b.top < innerHeight; }).length"
        )
        assert shown >= 4
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .label')].every(l => l.textContent === 'warm')"
    )
    last = page.locator(f'.card[data-id="{COUNT - 1}"]')
    assert last.get_attribute("aria-posinset") == last.get_attribute("aria-setsize") == str(COUNT)


def test_frames_come_as_fast_while_scrolling_as_at_rest(visit, many):
    page = visit(many.url, viewport={"width": 1440, "height": 900})
    page.wait_for_timeout(500)
    rest, _, _ = page.evaluate(FRAMES, 0)
    usual = rest[len(rest) // 2]
    slow, most, _ = page.evaluate(FRAMES, 40)
    fast, most_fast, top = page.evaluate(FRAMES, 700)
    assert top > 50_000
    assert max(most, most_fast) <= 150
    for lengths in (slow, fast):
        assert long_frames(lengths, usual) <= long_frames(rest, usual) + 0.1
        assert lengths[len(lengths) // 2] < 2 * usual


def test_nothing_jumps_when_pictures_come(visit, many):
    page = visit(many.url, viewport={"width": 1440, "height": 900})
    held = []
    page.route("**/thumb/*", lambda route: held.append(route))  # they do not come yet
    page.locator("#grid").evaluate("grid => (grid.scrollTop = 40000)")
    drawn(page)
    before = page.locator(".picture").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().height)"
    )
    page.wait_for_timeout(300)
    assert held
    for route in held:
        route.continue_()
    page.unroute("**/thumb/*")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card img')].every(i => i.complete)"
    )
    after = page.locator(".picture").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().height)"
    )
    assert len({*before, *after}) == 1


def test_details_come_in_windows_and_not_for_what_is_passed(visit, many):
    page = visit(many.url, viewport={"width": 1440, "height": 900})
    many.asked.clear()
    page.evaluate(FRAMES, 1500)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .label')].every(l => l.textContent)"
    )
    asked = [path for path in many.asked if path.startswith("/api/pictures")]
    ids = [len(path.partition("ids=")[2].split(",")) for path in asked]
    assert max(ids) <= 200
    assert sum(ids) < COUNT / 4


def test_the_first_500_are_selected_at_most(visit, many):
    page = visit(many.url, viewport={"width": 1440, "height": 900})
    page.keyboard.press("a")
    drawn(page)
    assert page.locator("#count").inner_text() == "500 pictures"
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+End")
    drawn(page)
    assert page.locator("#count").inner_text() == "500 pictures"
    assert page.locator(".card").count() <= 150
