"""The same 50 held-out pictures, answered by the run, the Python predictor, the HTTP server and Chromium."""

import http.client
import json
from itertools import chain, zip_longest
from pathlib import Path

import pytest
from PIL import Image
from site_page import choose, open_site, runtime_folder
from static_server import StaticServer

import tellapart
from tellapart.ship.export import export
from tellapart.ship.server.server import ModelServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

DATA = Path("/work/shared/data")
EACH = 25
MARGIN = 0.01


def kind_of(file):
    """What a decoder has to do with it: format, mode, transparency, EXIF, and whether it is large."""
    with Image.open(file) as image:
        facts = (image.format, image.mode, "transparency" in image.info, "exif" in image.info)
        return (*facts, "icc_profile" in image.info, min(image.size) > 1000)


def mixed(files, count):
    """So many of the files, in turn from each kind."""
    kinds = {}
    for file in sorted(files):
        kinds.setdefault(kind_of(file), []).append(file)
    in_turn = chain.from_iterable(zip_longest(*kinds.values()))
    return [file for file in in_turn if file is not None][:count]


@pytest.fixture(scope="module", params=["anime_cartoon", "art_style"])
def asked(request, tmp_path_factory):
    """A run, its exported file and page, and pictures that it was not trained on."""
    data = DATA / request.param
    if not data.is_dir():
        pytest.skip(f"needs the real pictures in {data}")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "art_style":
        few = folder / "few"
        for split, count in (("training_set", 60), ("validation_set", 20), ("test_set", 20)):
            for label in sorted(path for path in (data / split).iterdir() if path.is_dir()):
                (few / split / label.name).mkdir(parents=True)
                for file in sorted(label.iterdir())[:count]:
                    (few / split / label.name / file.name).symlink_to(file)
        data = few
    run = tellapart.train(data, folder / "run", workers=2)
    exported = export(run, web=folder / "site", runtime=runtime_folder(), pictures=5, workers=2)
    root = Path(run.info["dataset"]["root"])
    held_out = [root / row[0] for row in run.predictions() if row[1] != "train"]
    return run.folder, exported.file, exported.web, mixed(held_out, EACH)


def by_server(model, files):
    answers = []
    with ModelServer(model, workers=1) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for file in files:
            connection.request("POST", "/v1/predict", body=file.read_bytes())
            answers.append(json.loads(connection.getresponse().read()))
        connection.close()
    return answers


def by_page(browser, site, files):
    context = browser.new_context()
    with StaticServer(site) as server:
        page = open_site(context, server.url)
        answers = [choose(page, file) for file in files]
    assert page.heard == []
    context.close()
    return answers


def test_all_answer_the_same(asked, chromium):
    run, model, site, files = asked
    assert len(files) == EACH
    by_run = [tellapart.load(run).predict(file).to_json() for file in files]
    others = {
        "the exported file": [tellapart.load(model).predict(file).to_json() for file in files],
        "the server": by_server(model, files),
        "the page": by_page(chromium, site, files),
    }
    worst = {}
    for who, answers in others.items():
        for file, answer, expected in zip(files, answers, by_run, strict=True):
            assert answer["error"] is expected["error"] is None, (who, file.name)
            assert set(answer["probabilities"]) == set(expected["probabilities"])
            apart = max(
                abs(share - expected["probabilities"][name])
                for name, share in answer["probabilities"].items()
            )
            assert apart <= MARGIN, (who, file.name, apart)
            assert answer["label"] == expected["label"], (who, file.name)
            assert answer["verdict"] == expected["verdict"], (who, file.name)
            worst[who] = max(worst.get(who, 0), apart)
    kinds = {kind_of(file) for file in files}
    print(f"{len(files)} pictures of {len(kinds)} kinds; largest difference: {worst}")  # noqa: T201
