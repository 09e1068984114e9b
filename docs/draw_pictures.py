"""Makes the pictures of the manual, by the commands that the manual shows, on a drawn gallery.

    python docs/draw_pictures.py            # needs Playwright and Chromium: make browser

They go to docs/pictures. A gallery with faults is drawn, trained on, reported and reviewed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import tellapart

PICTURES = Path(__file__).with_name("pictures")
COMMAND = [sys.executable, "-m", "tellapart.cli.main"]
CHROMIUM = os.environ.get("TELLAPART_CHROMIUM", "/usr/bin/chromium")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = trained(folder)
        figures(folder / "art", run)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            report(browser, run)
            review(browser, run)
            browser.close()
    for file in PICTURES.glob("*.png"):
        with Image.open(file) as image:
            image.convert("RGB").save(file.with_suffix(".webp"), quality=84, method=6)
        file.unlink()


def trained(folder: Path) -> Path:
    tell("gallery", folder / "art", "--per-class", "60", "--faults", "--seed", "2")
    tell("train", folder / "art", "--out", folder / "run", "--fit", "squish")
    return folder / "run"


def tell(*arguments: object) -> None:
    done = subprocess.run([*COMMAND, *map(str, arguments), "--quiet"], stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 3):  # 3: the faults hold files that cannot be read
        sys.exit(f"tellapart {' '.join(map(str, arguments))} failed")


def figures(data: Path, run: Path) -> None:
    tell("show", data, "-o", PICTURES / "sheet.png")
    interpretation = tellapart.Interpretation.from_run(run)
    interpretation.plot_top_losses(9, heatmap=True).savefig(PICTURES / "top_losses.png")
    interpretation.plot_confusion_matrix().savefig(PICTURES / "confusion.png")
    interpretation.embedding_map().plot().savefig(PICTURES / "embedding.png")
    heat_maps(run)


def heat_maps(run: Path) -> None:
    """Pictures with a mark, of the class that it gives away, and what the run looks at."""
    loaded = tellapart.Run.load(run)
    root = Path(loaded.info["dataset"]["root"])
    rows = [line.split(",") for line in (root / "faults.csv").read_text().splitlines()]
    marked = [row[0] for row in rows if row[1] == "shortcut"][5::12][:4]
    labels = [path.split("/")[-2] for path in marked]
    heats = tellapart.Explainer(loaded).explain_many([root / path for path in marked], labels)
    sheet = Image.new("RGB", (4 * 300, 600), "white")
    for place, heat in enumerate(heats):
        sheet.paste(heat.picture.resize((296, 296)), (300 * place, 0))
        sheet.paste(heat.overlay(296), (300 * place, 300))
    sheet.save(PICTURES / "heat_maps.png")


def report(browser: Browser, run: Path) -> None:
    tell("report", run)
    page = browser.new_page(viewport={"width": 1100, "height": 1300})
    page.goto((run / "report.html").as_uri())
    page.screenshot(path=PICTURES / "report.png")
    page.close()


def review(browser: Browser, run: Path) -> None:
    with served(run) as url:
        page = browser.new_page(viewport={"width": 1300, "height": 850})
        page.goto(url)
        page.wait_for_load_state("networkidle")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1500)
        page.screenshot(path=PICTURES / "review.png")
        page.close()


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The page of a review; it ends by itself where this fails."""
    command = [*COMMAND, "clean", str(run), "--no-browser", "--json", "--quiet", "--idle", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


if __name__ == "__main__":
    main()
