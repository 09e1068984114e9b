"""The exported page in a browser: where the runtime is, how one asks it, and what it answers."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READY = "() => document.body.dataset.ready !== undefined"
KEPT = "() => document.body.dataset.kept !== undefined"


def runtime_folder() -> Path:
    """The npm package, or the test is skipped."""
    named = os.environ.get("TELLAPART_ORT_WEB")
    folder = Path(named) if named else ROOT / ".venv/node/node_modules/onnxruntime-web"
    if not folder.is_dir():
        pytest.skip("needs onnxruntime-web from npm: make browser, or TELLAPART_ORT_WEB=FOLDER")
    return folder


def listen(page):
    """All that the page says, asks for and fails in is in `page.heard` and `page.asked`."""
    page.heard, page.asked = [], []
    page.on("console", lambda message: page.heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.heard.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (page.heard.append(dialog.message), dialog.accept()))
    page.on("requestfailed", lambda request: page.heard.append(f"{request.url} failed"))
    page.context.on("request", lambda request: page.asked.append(request.url))


def open_site(context, url, *, kept=False):
    """A page that is ready to answer, and with `kept` also ready to do so without a network."""
    page = context.new_page()
    listen(page)
    page.goto(url)
    page.wait_for_function(READY, timeout=60_000)
    if kept:
        page.wait_for_function(KEPT, timeout=60_000)
    return page


def answered(page, act):
    """What the page answers after `act()`: as Prediction.to_json, as far as the page shows it."""
    before = page.evaluate("() => document.querySelector('#answer').dataset.done ?? null")
    act()
    page.wait_for_function(
        "before => (document.querySelector('#answer').dataset.done ?? null) !== before",
        arg=before, timeout=60_000,
    )  # fmt: skip
    found = page.evaluate(
        """() => {
          const answer = document.querySelector("#answer");
          const text = (name) => answer.querySelector(name)?.textContent ?? null;
          const bars = [...answer.querySelectorAll(".bar[data-class]")];
          const shares = bars.map(({ dataset }) => [dataset.class, Number(dataset.probability)]);
          const { probability } = answer.dataset;
          return {
            path: text(".answer-path"),
            label: answer.dataset.label ?? null,
            probability: probability === undefined ? null : Number(probability),
            probabilities: shares,
            verdict: answer.dataset.verdict ?? null,
            reason: text(".answer-reason"),
            error: text(".answer-error"),
            milliseconds: Number(document.querySelector("#took").dataset.milliseconds),
          };
        }"""
    )
    return {**found, "probabilities": dict(found["probabilities"])}


def choose(page, file, selector="#choose"):
    """The answer to a file: a path, or what Playwright takes for one."""
    return answered(page, lambda: page.set_input_files(selector, file))


def given(name, content, kind="image/png"):
    """A file of this name, which need not be on any disk."""
    return {"name": name, "mimeType": kind, "buffer": content}
