"""Trust of a run: fitted on out-of-fold answers alone, and the same after it was stored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tellapart.errors import UsageError
from tellapart.evaluation.novelty import auroc
from tellapart.evaluation.share import parse_share
from tellapart.training.novel_classes import fit_novelty
from tellapart.training.recipe import ConvexProbe, Task
from tellapart.training.trust import Trust, at_temperature, fit_trust

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WIDTHS = {"final": 40, "all": 100}


def clouds(n, classes=4, seed=0, near=1.0):
    """Features (N, 100) of overlapping classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).normal(size=(classes, 100)) * near
    targets = np.arange(n) % classes
    return (centres[targets] + 3 * rng.normal(size=(n, 100))).astype(np.float32), targets


def task_of(features, targets, names="abcd"):
    folds = np.arange(len(targets)) // 4 % 5
    return Task(
        tuple(names), features, (), targets, folds, WIDTHS, (features[:0], targets[:0]), False, 0, 1,
        lambda done, total: None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    task = task_of(*clouds(600, near=0.6))
    return task, ConvexProbe().fit(task)


def boastful(fit, temperature=0.4):
    """The same head, too sure of itself by a known factor."""
    logits = np.log(fit.out_of_fold) / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    probe = at_temperature(fit.probe, temperature)
    return replace(fit, probe=probe, out_of_fold=p / p.sum(axis=1, keepdims=True))


def test_a_head_too_sure_of_itself_is_brought_back(fitted):
    task, fit = fitted
    plain, _ = fit_trust(task, fit)
    head, trust = fit_trust(task, boastful(fit))
    assert trust.temperature == pytest.approx(2.5, rel=0.25)
    assert trust.after.debiased_error < 0.5 * trust.before.debiased_error
    x = task.features[:50]
    np.testing.assert_allclose(head.probe.probabilities(x), plain.probe.probabilities(x), atol=0.05)
    np.testing.assert_allclose(
        head.probe.logits(x), fit.probe.logits(x) / 0.4 / trust.temperature, rtol=1e-3, atol=1e-4
    )
    assert head.facts["temperature"] == trust.temperature


def test_an_out_of_fold_answer_owes_nothing_to_its_own_label(fitted):
    task, fit = fitted
    turned = np.where(task.folds == 2, (task.targets + 1) % 4, task.targets)
    one, _ = fit_trust(task, boastful(fit))
    other, _ = fit_trust(replace(task, targets=turned), boastful(fit))
    own = task.folds == 2
    np.testing.assert_array_equal(one.out_of_fold[own], other.out_of_fold[own])
    assert not np.array_equal(one.out_of_fold[~own], other.out_of_fold[~own])


def test_the_same_after_it_was_stored(fitted):
    task, fit = fitted
    _, trust = fit_trust(task, fit, 0.3)
    again = Trust.from_json(json.loads(json.dumps(trust.to_json())), trust.arrays)
    assert again.to_json() == trust.to_json()
    assert again.threshold_for(0.2) == trust.threshold_for(0.2)
    x = task.features[:20]
    np.testing.assert_array_equal(again.novelty.scores(x), trust.novelty.scores(x))


def test_a_dozen_pictures_promise_nothing_but_train():
    task = task_of(*clouds(12, classes=2), names="ab")
    _, trust = fit_trust(task, ConvexProbe().fit(task))
    assert trust.novelty is None
    assert trust.arrays == {}
    assert trust.threshold.value is None
    assert "cannot promise" in trust.notes[0] or "wrong too often" in trust.notes[0]
    assert trust.threshold_for(0.05).value is None
    assert 0.6 < trust.temperature < 1.7


def test_the_kept_share_of_new_known_pictures_stays_below_the_threshold():
    x, targets = clouds(800)
    found = fit_novelty(x, targets, np.arange(800) // 4 % 5, WIDTHS, workers=1)
    new = found.scores(clouds(4000, seed=3)[0])
    assert 0.975 < (new <= found.threshold).mean() <= 1
    strange = found.scores((clouds(400, seed=4)[0] * 0.2 + 6).astype(np.float32))
    assert (strange > found.threshold).mean() > 0.9


def test_where_only_the_final_vector_tells_it_the_final_vector_is_used():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 100)).astype(np.float32)
    targets = np.arange(900) % 3
    x[:, :40] += 2 * rng.normal(size=(3, 40))[targets]  # the stages show nothing of the classes
    found = fit_novelty(x, targets, np.arange(900) // 3 % 5, WIDTHS, workers=1)
    assert found.facts["score"] in ("final", "all")
    assert found.facts["chosen"]
    strange = rng.normal(size=(200, 100)).astype(np.float32)
    strange[:, :40] += 2 * rng.normal(size=40)
    assert auroc(found.scores(x), found.scores(strange)) > 0.9


def test_two_classes_leave_nothing_to_choose():
    x, targets = clouds(200, classes=2)
    found = fit_novelty(x, targets, np.arange(200) // 2 % 5, WIDTHS, workers=1)
    assert not found.facts["chosen"]
    assert found.facts["score"] == "stages"
    assert fit_novelty(x, np.zeros(200, int), np.arange(200) % 5, WIDTHS) is None


def test_many_classes_cost_no_more_than_few():
    x, targets = clouds(400, classes=40)
    found = fit_novelty(x, targets, np.arange(400) // 40 % 5, WIDTHS, workers=1)
    assert found.facts["left_out"] == 6


def test_a_backbone_without_stages_is_scored_by_its_final_vector():
    x, targets = clouds(200)
    found = fit_novelty(x, targets, np.arange(200) // 4 % 5, {"final": 100, "all": 100}, workers=1)
    assert list(found.blocks) == ["final"]


def test_workers_change_nothing():
    x, targets = clouds(300)
    folds = np.arange(300) // 4 % 5
    one, two = (fit_novelty(x, targets, folds, WIDTHS, workers=n) for n in (1, 2))
    assert one.threshold == two.threshold
    assert one.facts == two.facts


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), (" 2.5 % ", 0.025), ("0.1", 0.1)])
def test_shares_are_read(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "2", "0", "100%", "-1%", "nan", "two", "%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="target error"):
        parse_share(text)


@pytest.mark.skipif(not (SHARED / "art_style").is_dir(), reason="needs ../shared/data/art_style")
@pytest.mark.slow
def test_each_left_out_style_is_told_apart():
    from tellapart.data.dataset import Dataset
    from tellapart.model.backbones import open_backbone
    from tellapart.training.embed import Embedder, embed

    dataset = Dataset.from_folder(SHARED / "art_style")
    backbone = open_backbone("tf_efficientnet_lite0")
    x = embed(dataset.root, dataset.paths, Embedder(backbone)).values
    train = np.asarray(dataset.table["split"] == "train")
    areas = []
    for left in range(4):
        rows = np.flatnonzero(train & (dataset.targets != left))
        targets = np.unique(dataset.targets[rows], return_inverse=True)[1]
        found = fit_novelty(x[rows], targets, np.arange(len(rows)) % 5, backbone.dimensions)
        scores, known = found.scores(x[~train]), dataset.targets[~train] != left
        areas.append(auroc(scores[known], scores[~known]))
    assert np.mean(areas) >= 0.85
    assert min(areas) >= 0.70


def test_classes_that_lie_in_one_fold_each_leave_nothing_to_ask():
    """As where all pictures of a class are copies of one."""
    features = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    targets = np.arange(60) % 2
    assert fit_novelty(features, targets, targets, {"final": 12}) is None
    assert fit_novelty(features, targets, np.arange(60) // 2 % 5, {"final": 12}) is not None


def test_its_picture_shows_its_numbers(fitted):
    task, fit = fitted
    _, trust = fit_trust(task, boastful(fit))
    figure = trust.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    left, right = figure.axes
    shown = [bar.lines[0].get_ydata().tolist() for bar in left.containers]
    assert shown == [[b.accuracy for b in part.bins] for part in (trust.before, trust.after)]
    share, errors = (part[-1] for part in right.lines[0].get_data())
    assert share == 100
    assert errors == pytest.approx(100 * trust.curve.errors[-1] / trust.curve.n)


def test_copies_promise_no_more_than_their_pictures():
    """Each picture five times over is no more of a trial than once."""
    features, targets = clouds(200, near=0.6)
    once = task_of(features, targets)
    fit = ConvexProbe().fit(once)
    five = np.repeat(np.arange(200), 5)
    copied = replace(task_of(features[five], targets[five]), folds=once.folds[five], groups=five)
    many = replace(fit, out_of_fold=fit.out_of_fold[five])
    _, alone = fit_trust(replace(once, groups=np.arange(200)), fit, 0.2)
    _, together = fit_trust(copied, many, 0.2)
    assert together.curve.n == alone.curve.n == 200
    assert together.threshold.needed == alone.threshold.needed
    _, blind = fit_trust(replace(copied, groups=None), many, 0.2)
    assert blind.curve.n == 1000
