"""The recipe one-cycle: cross-validated like the probe, and kept only where it is better."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

import tellapart  # noqa: E402
from tellapart.errors import DatasetError, UsageError  # noqa: E402
from tellapart.finetuning import one_cycle  # noqa: E402
from tellapart.finetuning.augment import Transforms  # noqa: E402
from tellapart.finetuning.one_cycle import OneCycle, new_recipe  # noqa: E402
from tellapart.training.embed import Embedder  # noqa: E402
from tellapart.training.probe import Probe  # noqa: E402
from tellapart.training.recipe import ConvexProbe, HeadFit, Task  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
N, D = 90, 6


def planted(n=N, seed=0):
    """Features in which the first two tell two classes apart."""
    generator = np.random.default_rng(seed)
    targets = (np.arange(n) % 2).astype(np.intp)
    features = generator.normal(size=(n, D)).astype(np.float32)
    features[:, :2] += (3 * targets - 1.5)[:, None]
    return features, targets


def crossed(n=200, seed=0):
    """The class is whether two signs are equal, which no plane can tell."""
    features = np.random.default_rng(seed).uniform(-1, 1, size=(n, 3)).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > 0).astype(np.intp)


def new_task(features, targets, views=(), **other):
    task = Task(
        classes=("a", "b"), features=features, views=tuple(views), targets=targets,
        folds=np.arange(len(targets)) // 2 % 5, widths={"all": features.shape[1]},
        valid=planted(20, seed=9) if features.shape[1] == D else crossed(20, seed=9),
        balanced=False, seed=0, workers=1, progress=lambda done, total: None,
    )  # fmt: skip
    return replace(task, **other)


QUICK = OneCycle(epochs=2, lr="1e-2", batch=16)


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_what_is_in_a_fold_never_trains_what_answers_for_it(head):
    """Other targets, views and features of fold 0 leave the answer for one of its pictures as it is."""
    (features, targets), (view, _) = planted(), planted(seed=1)
    recipe = replace(QUICK, head=head)
    before = recipe.fit(new_task(features, targets, [view])).out_of_fold
    inside = np.arange(N) // 2 % 5 == 0
    other = np.flatnonzero(inside)[1:]
    features, targets, view = features.copy(), targets.copy(), view.copy()
    targets[inside] = 1 - targets[inside]
    view[inside] = 100
    features[other] = -100
    after = recipe.fit(new_task(features, targets, [view])).out_of_fold
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[~inside], before[~inside])
    assert before.shape == (N, 2)
    np.testing.assert_allclose(before.sum(axis=1), 1, rtol=1e-5)


def test_validation_pictures_choose_nothing():
    features, targets = planted()
    recipe = replace(QUICK, compare=True)
    one = recipe.fit(new_task(features, targets))
    shown, answers = planted(20, seed=9)
    other = recipe.fit(new_task(features, targets, valid=(-shown, 1 - answers)))
    np.testing.assert_array_equal(other.out_of_fold, one.out_of_fold)
    for name, array in one.probe.arrays.items():
        np.testing.assert_array_equal(other.probe.arrays[name], array)


def test_the_table_has_a_row_per_epoch_and_nobody_hears_of_the_folds():
    heard = []
    fit = QUICK.fit(new_task(*planted(), on_epoch=heard.append))
    header, rows = fit.tables["history.csv"]
    assert header[:4] == ("epoch", "train_loss", "valid_loss", "errors")
    assert [row[0] for row in rows] == [row.epoch for row in heard] == [0, 1]
    shown, answers = planted(20, seed=9)
    wrong = int((fit.probe.logits(shown).argmax(axis=1) != answers).sum())
    assert (heard[-1].errors, heard[-1].n) == (wrong, 20)


def test_every_class_weighs_the_same_where_it_is_asked_for():
    """Two classes that cannot be told apart, 5 to 1: only the weights raise the rare one."""
    features = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    targets = (np.arange(N) % 6 == 0).astype(np.intp)
    means = [
        OneCycle(epochs=20, lr="1e-2", batch=16)
        .fit(new_task(features, targets, balanced=balanced))
        .probe.probabilities(features)[:, 1]
        .mean()
        for balanced in (False, True)
    ]
    assert means[0] < 0.3
    assert 0.4 < means[1] < 0.6


def test_the_same_task_gives_the_same_numbers():
    features, targets = planted()
    one, two = (replace(QUICK, head="hidden").fit(new_task(features, targets)) for _ in range(2))
    np.testing.assert_array_equal(one.out_of_fold, two.out_of_fold)
    other = replace(QUICK, head="hidden", seed=1).fit(new_task(features, targets))
    assert not np.array_equal(one.out_of_fold, other.out_of_fold)


# Compared with the probe.


def wrong(fit, targets):
    return int((fit.out_of_fold.argmax(axis=1) != targets).sum())


def test_where_the_probe_is_better_it_is_kept():
    features, targets = planted()
    fit = OneCycle(epochs=1, lr="1e-5", compare=True).fit(new_task(features, targets))
    alone = ConvexProbe().fit(new_task(features, targets))
    assert fit.facts["recipe"] == fit.facts["compared"]["kept"] == "probe"
    np.testing.assert_array_equal(fit.out_of_fold, alone.out_of_fold)
    np.testing.assert_array_equal(fit.probe.weights, alone.probe.weights)
    assert not fit.tables  # the epochs were those of the other head


def test_where_one_cycle_is_better_it_is_kept():
    features, targets = crossed()
    recipe = OneCycle(epochs=15, lr="1e-2", head="hidden", batch=32)
    own = recipe.fit(new_task(features, targets))
    fit = replace(recipe, compare=True).fit(new_task(features, targets))
    assert fit.facts["recipe"] == fit.facts["compared"]["kept"] == "one-cycle"
    np.testing.assert_array_equal(fit.out_of_fold, own.out_of_fold)
    assert fit.probe.hidden_weights is not None
    assert fit.notes[0].startswith("one-cycle training is better by cross-validation, and is kept")


def test_the_note_counts_the_pictures_of_both():
    features, targets = crossed()
    recipe = OneCycle(epochs=15, lr="1e-2", head="hidden", batch=32)
    task = new_task(features, targets)
    note = replace(recipe, compare=True).fit(task).notes[0]
    fits = [ConvexProbe().fit(task), recipe.fit(task)]
    for name, fit in zip(("probe", "one-cycle"), fits, strict=True):
        loss = -np.log(fit.out_of_fold[np.arange(200), targets]).mean()
        assert f"{name} log loss {loss:.4f}, {wrong(fit, targets)} of 200 wrong" in note
    right = [fit.out_of_fold.argmax(axis=1) == targets for fit in fits]
    assert f"{(right[0] & ~right[1]).sum()} right with the probe alone" in note
    assert f"{(right[1] & ~right[0]).sum()} with one-cycle alone" in note
    assert re.search(r"McNemar p = [\d.e-]+", note)


@dataclass(frozen=True)
class Rival:
    """Stands for the probe, with out-of-fold probabilities that are given."""

    out_of_fold: np.ndarray

    def fit(self, task):
        zeros = np.zeros(D, np.float32)
        probe = Probe("all", zeros, zeros + 1, np.zeros((D, 2), np.float32), zeros[:2])
        return HeadFit(probe, self.out_of_fold, {"recipe": "probe"})


def against(monkeypatch, out_of_fold, task):
    monkeypatch.setattr(one_cycle, "ConvexProbe", lambda: Rival(out_of_fold.astype(np.float32)))
    return replace(QUICK, compare=True).fit(task)


def test_where_both_are_equal_the_probe_is_kept(monkeypatch):
    task = new_task(*planted())
    own = QUICK.fit(task)
    fit = against(monkeypatch, own.out_of_fold, task)
    assert fit.facts["recipe"] == "probe"
    assert fit.notes[0].startswith(
        "the probe is as good or better by cross-validation, and is kept"
    )


def test_an_advantage_that_may_be_chance_is_none(monkeypatch):
    """On one picture the probe is worse, on another it is better, by less."""
    task = new_task(*planted())
    own = QUICK.fit(task).out_of_fold
    likelihood = own[np.arange(N), task.targets].astype(np.float64)
    likelihood[3] *= np.exp(-3)
    likelihood[8] = min(likelihood[8] * np.exp(2), 0.999)
    rival = np.where(np.eye(2)[task.targets] > 0, likelihood[:, None], 1 - likelihood[:, None])
    losses = [-np.log(p[np.arange(N), task.targets]).mean() for p in (rival, own)]
    assert losses[1] < losses[0]
    assert against(monkeypatch, rival, task).facts["recipe"] == "probe"


def test_each_fold_is_answered_by_what_the_other_folds_choose(monkeypatch):
    """The rival is perfect in all folds but the first, and so bad there that it is not kept."""
    task = new_task(*planted())
    own = QUICK.fit(task).out_of_fold
    rival = np.where(np.eye(2)[task.targets] > 0, 0.999, 0.001)
    first = task.folds == 0
    rival[first] = np.where(np.eye(2)[task.targets[first]] > 0, 1e-9, 1.0)
    fit = against(monkeypatch, rival, task)
    assert fit.facts["recipe"] == "one-cycle"
    np.testing.assert_allclose(fit.out_of_fold[first], rival[first], rtol=1e-6)
    np.testing.assert_array_equal(fit.out_of_fold[~first], own[~first])


# What cannot be done.


def test_without_validation_pictures_the_next_step_is_named():
    empty = (np.zeros((0, D), np.float32), np.zeros(0, np.intp))
    with pytest.raises(DatasetError, match=r"--valid 0\.2"):
        QUICK.fit(new_task(*planted(), valid=empty))


@pytest.mark.parametrize(
    "dials",
    [
        {"head": "deep"}, {"epochs": 0}, {"batch": 1}, {"lr": "fast"}, {"views": -1}, {"views": 65},
        {"label_smoothing": 1.0}, {"seed": -1}, {"seed": 10**20},
    ],
)  # fmt: skip
def test_dials_out_of_range_are_refused(dials):
    with pytest.raises(UsageError):
        OneCycle(**dials)


def test_recipes_by_name():
    assert new_recipe(None) == ConvexProbe()
    assert new_recipe(None, epochs=3) == OneCycle(3, compare=True)
    assert new_recipe("one-cycle", lr="1e-3", views=0) == OneCycle(lr="1e-3", views=0)
    assert new_recipe("auto", head="hidden", seed=4) == OneCycle(
        head="hidden", compare=True, seed=4
    )
    assert new_recipe("one-cycle", no_flip=True).transforms == Transforms(do_flip=False)
    views = new_recipe("probe", views=2, no_flip=True).other_views
    assert [view.transforms.do_flip for view in views] == [False, False]
    for wrong in ({"epochs": 2}, {"lr": "1e-3"}, {"head": "linear"}):
        with pytest.raises(
            UsageError, match=f"--{next(iter(wrong))} belongs to --recipe one-cycle"
        ):
            new_recipe("probe", **wrong)
    with pytest.raises(UsageError, match="probe, one-cycle, auto"):
        new_recipe("two-cycle")


# A whole training.


@pytest.fixture
def looks(monkeypatch):
    """How often the network looked at a picture."""
    seen = []
    features_of = Embedder._features_of

    def counted(self, image, content):
        seen.append(content)
        return features_of(self, image, content)

    monkeypatch.setattr(Embedder, "_features_of", counted)
    return seen


def trained(data, options, folder, recipe):
    return tellapart.train(
        data, folder, tellapart.TrainOptions(**options), recipe=recipe, workers=1
    )


@pytest.mark.parametrize("views", [0, 2])
def test_the_network_sees_each_view_once_and_for_all(
    tiny_data, tiny_options, tmp_path, monkeypatch, looks, views
):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    recipe = OneCycle(2, views=views)
    one = trained(tiny_data, tiny_options, tmp_path / "one", recipe)
    assert one.info["computed"] == len(looks) == (views + 1) * 22 + 12
    again = trained(tiny_data, tiny_options, tmp_path / "two", recipe)
    assert again.info["computed"] == 0
    assert len(looks) == (views + 1) * 22 + 12
    assert again.predictions() == one.predictions()


def test_a_run_with_a_hidden_head_answers_as_its_training_said(tiny_data, tiny_options, tmp_path):
    recipe = OneCycle(3, lr="1e-2", head="hidden", batch=8)
    run = trained(tiny_data, tiny_options, tmp_path / "run", recipe)
    predictor = tellapart.load(run.folder, workers=1)
    assert tellapart.Run.load(run.folder).probe.hidden_weights.shape[1] == 512
    rows = [row for row in run.predictions() if row[1] == "valid"]
    assert len(rows) == 12
    for path, _, _, predicted, *probabilities in rows:
        found = predictor.predict(tiny_data / path)
        assert found.label == predicted
        np.testing.assert_allclose(found.probabilities, np.float64(probabilities), atol=1e-6)


def test_a_hidden_head_is_fine_tuned_on(tiny_data, tiny_options, tmp_path):
    """A step too small to change anything: the stage says what the run said, by its own graph."""
    recipe = OneCycle(3, lr="1e-2", head="hidden", batch=8)
    run = trained(tiny_data, tiny_options, tmp_path / "run", recipe)
    still = tellapart.FinetuneOptions(1, "1e-12", "last", batch=8)
    stage = tellapart.finetune(run, still, workers=0)
    before = [row for row in run.predictions() if row[1] == "valid"]
    for one, other in zip(before, stage.predictions(), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(np.float64(other[4:]), np.float64(one[4:]), atol=5e-3)
    moved = tellapart.FinetuneOptions(1, "1e-3", "last", batch=8)
    stage = tellapart.finetune(run, moved, start="stage-1", workers=0)
    for name, array in run.probe.arrays.items():
        assert np.array_equal(stage.probe.arrays[name], array) == (name in ("mean", "std")), name
    path, _, _, label, *probabilities = stage.predictions()[0]
    found = tellapart.load(stage.folder, workers=1).predict(tiny_data / path)
    assert found.label == label
    np.testing.assert_allclose(found.probabilities, np.float64(probabilities), atol=1e-6)


def test_a_recipe_is_a_part_of_what_a_run_is(tiny_data, tiny_options, tmp_path):
    trained(tiny_data, tiny_options, tmp_path / "run", OneCycle(1))
    assert trained(tiny_data, tiny_options, tmp_path / "run", OneCycle(1)).info["computed"] == 0
    for other in (OneCycle(2), OneCycle(1, compare=True), None):
        with pytest.raises(tellapart.TellapartError, match="--overwrite"):
            trained(tiny_data, tiny_options, tmp_path / "run", other)
