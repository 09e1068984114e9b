"""The report in a browser: no violation that axe knows of, nothing loaded, nothing wider than the screen."""

import pytest

from reporting.made_runs import HOSTILE, made_run
from tellapart.reporting.report import report

pytestmark = pytest.mark.browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report-page")
    classes = [HOSTILE, "cat", "a dog with a long name", *(f"class {i}" for i in range(12))]
    run = made_run(folder / "run", classes, per_class=8, wrong=0.4)
    return report(run, check=False, workers=1).save(folder / "report.html")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"chromium cannot be started: {error}")
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_loads_nothing(browser, page_file, scheme, width):
    view = {"width": width, "height": 900}
    context = browser.new_context(viewport=view, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert said == []
    context.close()


def test_a_browser_keeps_to_the_policy_of_the_page(browser, page_file):
    """With the policy in force nothing in the page is refused, and a script would be."""
    context = browser.new_context()
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(page_file.as_uri())
    assert said == []
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "none", (
        "the style is applied"
    )
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://x.test/'}))"
    )
    page.wait_for_timeout(100)
    assert any("Content Security Policy" in text for text in said)
    context.close()
