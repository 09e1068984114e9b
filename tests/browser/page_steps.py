"""Steps that many tests of the review page take."""

__all__ = ["drawn", "focused", "open_queue", "said", "saved"]


def drawn(page: object) -> None:
    """Wait until the page has drawn what it knows."""
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")


def focused(page: object) -> int:
    """The id of the picture in focus."""
    drawn(page)
    return int(page.locator(".card.focus").first.get_attribute("data-id"))


def said(page: object, text: str) -> None:
    """Wait until the page says this."""
    page.locator("#said").filter(has_text=text).wait_for()


def saved(page: object, count: int = 1) -> None:
    """Wait until so many badges are there and none of them is hollow."""
    page.wait_for_function(
        "n => document.querySelectorAll('.card .badge:not(:empty)').length === n"
        " && !document.querySelector('.card.pending')",
        arg=count,
    )


def open_queue(page: object, name: str) -> None:
    page.locator(f'#queues button[data-value="{name}"]').click()
    page.wait_for_selector(f'#queues button[data-value="{name}"][aria-current=true]')
    page.wait_for_selector("#grid[aria-busy=false]", state="attached")
    page.wait_for_selector(".card .label:not(:empty):visible, #empty:visible")
    drawn(page)
