"""Heat maps: exact parts of the score, on the square that the network saw, and at the planted mark."""

import csv

import numpy as np
import pytest
from PIL import Image

from tellapart import TrainOptions, draw_gallery, load, train
from tellapart.errors import ImageError, UsageError
from tellapart.reporting.heat_maps import Explainer


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A gallery with faults, its run, the class with the mark, its corner, and the marked pictures."""
    root = tmp_path_factory.mktemp("marked") / "gallery"
    draw_gallery(root, per_class=40, seed=2, faults=True)
    with (root / "faults.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fault"] == "shortcut"]
    # Squished, since a centre crop would cut the corners off.
    run = train(root, root.parent / "run", TrainOptions(fit="squish"))
    return run, rows[0]["path"].split("/")[-2], rows[0]["detail"], [root / r["path"] for r in rows]


@pytest.fixture(scope="module")
def explainer(marked):
    return Explainer(marked[0])


def third(values, corner):
    size = len(values) // 3
    down = slice(0, size) if "top" in corner else slice(-size, None)
    across = slice(0, size) if "left" in corner else slice(-size, None)
    return values[down, across]


def test_the_parts_add_up_to_the_logit(marked, explainer):
    for path in marked[3][:5]:
        for target in range(len(explainer.classes)):
            heat = explainer.explain(path, target)
            assert abs(heat.values.sum(dtype=np.float64) + heat.rest - heat.logit) < 1e-4
            assert abs(heat.by_stage.total - heat.logit) < 1e-4


def test_the_logits_are_those_of_the_predictor(marked, explainer):
    path = marked[3][0]
    heats = [explainer.explain(path, target) for target in explainer.classes]
    logits = np.array([heat.logit for heat in heats])
    probabilities = np.exp(logits - logits.max())
    expected = load(marked[0].folder).predict(path).probabilities
    np.testing.assert_allclose(probabilities / probabilities.sum(), expected, atol=5e-3)
    assert explainer.explain(path).target == int(expected.argmax())


def test_the_map_points_at_the_planted_mark(marked, explainer):
    """The strongest place of the map lies in the mark's corner of the picture, a ninth of it."""
    _, label, corner, paths = marked
    found = 0
    for heat in explainer.explain_many(paths, [label] * len(paths)):
        found += third(heat.values, corner).max() == heat.values.max()
    assert found >= 0.8 * len(paths)


def test_other_corners_are_not_pointed_at(marked, explainer):
    """The same question, asked of pictures of other classes for the same class: no mark, no peak."""
    run, label, corner, _ = marked
    root = run.info["dataset"]["root"]
    others = [f"{root}/{row[0]}" for row in run.predictions() if row[2] != label][::6]
    heats = list(explainer.explain_many(others, [label] * len(others)))
    found = sum(third(heat.values, corner).max() == heat.values.max() for heat in heats)
    assert found <= 0.5 * len(heats)


def test_an_overlay_is_the_square_with_colours(marked, explainer):
    heat = explainer.explain(marked[3][0])
    assert heat.picture.size == (224, 224)
    assert heat.overlay(100).size == (100, 100)
    assert np.ptp(np.asarray(heat.overlay(), np.int16), axis=2).max() > 60
    assert heat._repr_png_().startswith(b"\x89PNG")
    assert repr(heat.label) in heat.sentence()


def test_what_cannot_be_explained_says_why(tmp_path, marked, explainer):
    with pytest.raises(UsageError, match="'dragon' is unknown"):
        explainer.explain(marked[3][0], "dragon")
    with pytest.raises(UsageError, match="99"):
        explainer.explain(marked[3][0], 99)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no")
    with pytest.raises(ImageError):
        explainer.explain(broken)
    good = marked[3][0]
    found = list(explainer.explain_many([broken, good], [0, 0]))
    assert isinstance(found[0], ImageError)
    assert found[1].target == 0


def test_any_kind_of_source_gives_the_same_map(marked, explainer):
    path = marked[3][0]
    one, two = explainer.explain(path, 0), explainer.explain(path.read_bytes(), 0)
    np.testing.assert_array_equal(one.values, two.values)
    array = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_allclose(explainer.explain(array, 0).values, one.values, atol=1e-4)
