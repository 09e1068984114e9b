"""Learner: fastai's steps on a network of half a million weights, and what lies in the folder after."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

import tellapart  # noqa: E402
from tellapart.errors import UsageError  # noqa: E402
from tellapart.finetuning import finetune as unfrozen_stage  # noqa: E402
from tellapart.finetuning import frozen_stage, lr_find  # noqa: E402
from tellapart.finetuning.views import augmented_views  # noqa: E402
from tellapart.training.embed import Embedder, embed  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
RATES = slice(1e-4, 1e-3)


def new(data, options, out, **more):
    return tellapart.Learner(data, out=out, workers=1, **{"shown": False, **options, **more})


def steps(learn, epochs=2):
    """The script of every fastai course; gives the answers after its first part."""
    learn.fit_one_cycle(epochs, lr=1e-2)
    learn.save("stage-1")
    first = learn.get_preds()[0]
    learn.unfreeze("last")
    learn.fit_one_cycle(1, lr=RATES, batch=8)
    return first


@pytest.fixture(scope="module")
def done(tiny_data, tiny_options, tmp_path_factory):
    """A learner after its steps, and its answers after the first part."""
    learn = new(tiny_data, tiny_options, tmp_path_factory.mktemp("learner") / "run")
    return learn, steps(learn)


@pytest.fixture
def copied(done, tmp_path):
    """The run folder of those steps, to change."""
    shutil.copytree(done[0].run.folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("something is trained")

    monkeypatch.setattr(frozen_stage, "train_head", refuse)
    monkeypatch.setattr(unfrozen_stage, "train_epochs", refuse)


def same_arrays(one, other):
    return all(np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())


def test_each_fit_is_a_stage(done):
    learn, _ = done
    names = sorted(path.name for path in (learn.run.folder / "stages").iterdir())
    assert names == ["fit-1", "fit-2", "stage-1"]
    assert learn.stage.info["stage"] == "fit-2"
    assert learn.stage.info["from"] == "stage-1"
    assert learn.stage.info["finetune"]["lr"] == "0.0001..0.001"
    assert not list(learn.run.folder.rglob("checkpoint*"))
    assert repr(learn) == f"Learner(test_resnet, unfrozen (last), {learn.stage.folder})"


def test_figures_and_answers_agree(done):
    learn, _ = done
    probabilities, targets = learn.get_preds()
    found = learn.validate()
    assert probabilities.shape == (12, 2)
    assert targets.tolist() == [0] * 6 + [1] * 6
    assert found.errors == (probabilities.argmax(axis=1) != targets).sum()
    own = probabilities[np.arange(12), targets]
    assert found.log_loss == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert found.errors == learn.recorder.fits[-1].history[-1].errors
    for ask in (learn.validate, learn.get_preds):
        with pytest.raises(UsageError, match="test"):
            ask("test")


def test_one_picture_is_answered_like_all(done, tiny_data):
    learn, _ = done
    path, _, _, label, *probabilities = learn.stage.predictions()[0]
    category, index, found = learn.predict(tiny_data / path)
    assert (category, learn.run.classes[index]) == (label, label)
    np.testing.assert_allclose(found, np.float64(probabilities), atol=1e-6)


def test_load_goes_back_to_what_was_saved(done, copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied)
    assert not np.array_equal(done[1], done[0].get_preds()[0])
    np.testing.assert_array_equal(learn.load("stage-1").get_preds()[0], done[1])
    with pytest.raises(UsageError, match="fit-1, fit-2, stage-1"):
        learn.load("stage-7")


def test_a_script_that_is_run_again_trains_nothing(
    done, copied, tiny_data, tiny_options, no_training
):
    learn = new(tiny_data, tiny_options, copied)
    np.testing.assert_array_equal(steps(learn), done[1])
    np.testing.assert_array_equal(learn.get_preds()[0], done[0].get_preds()[0])
    assert learn.recorder.values == done[0].recorder.values
    for name in ("fit-1", "fit-2"):
        here, there = (run.folder / "stages" / name for run in (learn.run, done[0].run))
        assert tellapart.Run.load(here).info == tellapart.Run.load(there).info


def test_a_script_that_is_run_again_shows_its_tables(copied, tiny_data, tiny_options, capsys):
    steps(new(tiny_data, tiny_options, copied, shown=True))
    printed = capsys.readouterr().out.splitlines()
    numbers = [line.split()[0] for line in printed if "of 12 " in line and line.startswith(" ")]
    assert numbers == ["0", "1", "0"]
    assert printed[0].startswith("The probe, to compare with: error rate")


def test_an_interrupted_fit_shows_each_of_its_rows_once(
    copied, tiny_data, tiny_options, monkeypatch, capsys
):
    learn = new(tiny_data, tiny_options, copied).load("stage-1")
    learn.unfreeze("0")
    at = {"lr": 1e-3, "batch": 8}

    def interrupt(self, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tellapart.finetuning.live.LiveTable.on_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            learn.fit_one_cycle(2, **at)
    again = new(tiny_data, tiny_options, copied, shown=True).load("stage-1")
    again.unfreeze("0")
    again.fit_one_cycle(2, **at)
    lines = [line for line in capsys.readouterr().out.splitlines() if "of 12 " in line]
    assert sorted(line.split()[0] for line in lines if line.startswith(" ")) == ["0", "1"]


def test_other_options_replace_a_fit_and_never_what_was_saved(copied, tiny_data, tiny_options):
    before = {path: path.read_bytes() for path in (copied / "stages" / "stage-1").iterdir()}
    learn = new(tiny_data, tiny_options, copied)
    learn.fit_one_cycle(1, lr=1e-2)
    assert len(learn.recorder.values) == 1
    assert learn.stage.info["stage"] == "fit-1"
    assert {path: path.read_bytes() for path in before} == before
    assert tellapart.Run.load(copied / "stages" / "fit-2").info["from"] == "stage-1"


def test_save_replaces_an_older_one_of_the_name(copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied).load("fit-2")
    answers = learn.get_preds()[0]
    saved = learn.save("stage-1")
    assert saved.info["stage"] == "stage-1"
    assert (saved.folder / "network.onnx").exists()
    np.testing.assert_array_equal(learn.load("stage-1").get_preds()[0], answers)
    frozen = learn.load("fit-1").save("stage-1")
    assert not (frozen.folder / "network.onnx").exists()
    assert {path.name for path in frozen.folder.iterdir()} == {
        path.name for path in (copied / "stages" / "fit-1").iterdir()
    }


def test_what_is_saved_before_any_fit_is_the_probe(tiny_data, tiny_options, copied):
    learn = new(tiny_data, tiny_options, copied)
    saved = learn.save("begin")
    assert same_arrays(saved.probe, learn.run.probe)
    assert saved.info["of_run"]
    np.testing.assert_array_equal(learn.load("begin").get_preds()[0], learn.get_preds()[0])


def test_fitting_begins_with_an_untrained_head_and_then_goes_on(done):
    first, second = done[0].recorder.fits
    assert first.history[0].train_loss == pytest.approx(np.log(2), abs=1e-6)  # zeros, one step
    assert second.history[0].train_loss != pytest.approx(np.log(2), abs=1e-3)
    assert [(fit.name, len(fit.history)) for fit in (first, second)] == [("fit-1", 2), ("fit-2", 1)]


def test_frozen_epochs_leave_the_network_as_it_is(copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied).load("fit-2")
    before = learn.save("mine")
    learn.freeze()
    learn.fit_one_cycle(1, lr=1e-3)
    assert learn.stage.info["from"] == "mine"
    assert learn.stage.backbone().graph == before.backbone().graph
    assert not same_arrays(learn.stage.probe, before.probe)
    learn.unfreeze("last")
    learn.fit_one_cycle(1, lr=RATES, batch=8)
    assert learn.stage.backbone().graph != before.backbone().graph


def test_the_second_fit_with_the_same_views_looks_at_no_picture(copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied).load("stage-1")
    learn.fit_one_cycle(3, lr=1e-3)
    assert learn.stage.info["computed"] == 0


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_fine_tune_does_what_fastai_plans(head, copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied, head=head)
    learn.fine_tune(1, 2e-3)
    frozen, unfrozen = (tellapart.Run.load(copied / "stages" / f"fit-{i}") for i in (1, 2))
    dials = frozen.info["one_cycle"]
    assert (dials["epochs"], dials["lr"], dials["pct_start"]) == (1, "..0.002", 0.99)
    dials = unfrozen.info["finetune"]
    assert (dials["epochs"], dials["lr"]) == (1, "1e-05..0.001")
    assert (dials["pct_start"], dials["div"], dials["unfreeze"]) == (0.3, 5.0, "all")
    assert unfrozen.info["from"] == "fit-1"
    assert ("hidden_weights" in unfrozen.probe.arrays) == (head == "hidden")
    assert unfrozen.info["probe"] == frozen.info["probe"]


def test_the_recorder_has_the_rates_that_were_used(done):
    from tellapart.finetuning.schedule import layer_rates, one_cycle

    first, second = done[0].recorder.fits
    cycle = one_cycle(2, 1e-2)  # 44 vectors in steps of 64, twice
    assert [row[0] for row in first.lr] == cycle.lrs.tolist()
    assert first.momentum == cycle.momenta.tolist()
    cycle = one_cycle(3, layer_rates(RATES, 2))  # 22 pictures in steps of 8; a group and the head
    np.testing.assert_allclose(second.lr, cycle.lrs)
    assert done[0].recorder.values == [
        [row.train_loss, row.valid_loss, row.errors / 12]
        for row in (*first.history, *second.history)
    ]
    for figure in (done[0].recorder.plot_lr(), done[0].recorder.plot_losses()):
        assert figure._repr_png_().startswith(b"\x89PNG")  # notebooks show it


# The learning-rate finder.


def remembered(monkeypatch, name):
    """What the finder makes with `name`, with its weights before anything else."""
    kept = {}
    make = getattr(lr_find, name)

    def remember(*arguments, **options):
        kept["module"] = make(*arguments, **options)
        state = kept["module"].state_dict()
        kept["before"] = {key: tensor.clone() for key, tensor in state.items()}
        return kept["module"]

    monkeypatch.setattr(lr_find, name, remember)
    return kept


def as_before(kept):
    after = kept["module"].state_dict()
    return all(torch.equal(after[name], tensor) for name, tensor in kept["before"].items())


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_the_finder_leaves_a_frozen_head_as_it_was(
    head, copied, tiny_data, tiny_options, monkeypatch
):
    learn = new(tiny_data, tiny_options, copied, head=head)
    _ = learn.run
    before, random = files(copied), torch.get_rng_state()
    kept = remembered(monkeypatch, "new_head")
    found = learn.lr_find(steps=30, restarts=2)
    assert as_before(kept)
    assert files(copied) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert learn.recorder.found[1] is found
    assert learn.recorder.found[0].losses.shape == (2, 30)
    assert isinstance(learn.recorder.plot(), Figure)


def test_what_is_trained_after_the_finder_is_what_is_trained_without(
    done, copied, tiny_data, tiny_options
):
    shutil.rmtree(copied / "stages")
    learn = new(tiny_data, tiny_options, copied)
    learn.lr_find(steps=20, restarts=1)
    learn.fit_one_cycle(2, lr=1e-2)
    np.testing.assert_array_equal(learn.get_preds()[0], done[1])


def test_the_finder_leaves_an_unfrozen_network_as_it_was(
    copied, tiny_data, tiny_options, monkeypatch
):
    learn = new(tiny_data, tiny_options, copied).load("fit-2")
    learn.unfreeze("last")
    before, kept = files(copied), remembered(monkeypatch, "new_classifier")
    learn.lr_find(steps=20, restarts=1)
    assert as_before(kept)
    assert files(copied) == before
    assert np.isfinite(learn.recorder.found[0].losses[0, :5]).all()


# Answers.


def test_tta_is_the_mean_over_views(done, tiny_data):
    learn, _ = done
    found = learn.tta(n=2, beta=0.4)
    stage = learn.stage
    plain = Embedder(stage.backbone(), stage.preprocess, workers=1)
    paths = [row[0] for row in stage.predictions() if row[1] == "valid"]
    answers = [
        stage.probe.probabilities(embed(tiny_data, paths, looking).values)
        for looking in (plain, *(plain.seen_as(view) for view in augmented_views(2)))
    ]
    expected = 0.4 * answers[0] + 0.6 * (answers[1] + answers[2]) / 2
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(answers[0], learn.get_preds()[0], atol=1e-6)
    assert not np.allclose(found.probabilities, answers[0])
    assert found.plain.errors == learn.validate().errors
    assert found.metrics.errors == (expected.argmax(axis=1) != found.targets).sum()
    assert found.metrics.sentence() in found.sentence()
    assert found.plain.sentence() in found.sentence()
    assert found.sentence().endswith(f"They do not differ (McNemar p = {found.p_value:.2g}).")


def test_with_beta_one_tta_is_the_plain_answer(done):
    found = done[0].tta(n=1, beta=1.0)
    np.testing.assert_allclose(found.probabilities, done[0].get_preds()[0], atol=1e-6)
    assert found.p_value == 1


@pytest.mark.parametrize("dials", [{"n": 0}, {"beta": 1.5}, {"split": "test"}])
def test_tta_that_cannot_be_is_refused(done, dials):
    with pytest.raises(UsageError):
        done[0].tta(**dials)


@pytest.mark.parametrize("stage", ["fit-1", "fit-2"])
def test_an_export_answers_alike_where_nothing_else_is_known(
    stage, copied, tiny_data, tiny_options, tmp_path
):
    learn = new(tiny_data, tiny_options, copied).load(stage)
    rows = learn.stage.predictions()
    file = learn.export(tmp_path / "model.onnx", pictures=24).file
    code = """
import sys
for name in ("torch", "torchvision", "timm", "onnx", "pandas", "safetensors"): sys.modules[name] = None
import tellapart
predictor = tellapart.load(sys.argv[1], workers=1)
print(*(predictor.predict(path).label for path in sys.argv[2:]))"""
    moved = file.rename(tmp_path / "elsewhere.onnx")
    shutil.rmtree(copied)
    pictures = [str(tiny_data / row[0]) for row in rows]
    answer = subprocess.run(
        [sys.executable, "-c", code, str(moved), *pictures], capture_output=True, text=True,
        env={"TELLAPART_CACHE": str(tmp_path / "empty"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [row[3] for row in rows]


def test_an_export_replaces_nothing(done, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UsageError, match="choose another"):
        done[0].export(tmp_path / "holiday.jpg")


# How it is made.


def test_the_metric_is_one_of_two(tiny_data, tiny_options, copied, capsys):
    learn = new(tiny_data, tiny_options, copied, metric="accuracy", shown=True)
    learn.fit_one_cycle(2, lr=1e-2)
    lines = capsys.readouterr().out.splitlines()
    header, *rows = [line.split() for line in lines if line.startswith(" ")]
    assert header[3] == "accuracy"
    rates = [1 - row.errors / row.n for row in learn.recorder.fits[0].history]
    assert [float(row[3]) for row in rows] == pytest.approx(rates, abs=1e-6)
    with pytest.raises(UsageError, match="error_rate, accuracy"):
        new(tiny_data, tiny_options, copied, metric="f1")


@pytest.mark.parametrize("dials", [{"head": "deep"}, {"views": 99}, {"seed": -1}])
def test_wrong_dials_are_refused_before_a_picture_is_read(dials, tmp_path):
    with pytest.raises(UsageError):
        tellapart.Learner(tmp_path / "nowhere", out=tmp_path / "run", **dials)
    assert not (tmp_path / "run").exists()


def test_wrong_steps_are_refused_and_leave_no_stage(copied, tiny_data, tiny_options):
    learn = new(tiny_data, tiny_options, copied)
    before = sorted(path.name for path in (copied / "stages").iterdir())
    with pytest.raises(UsageError):
        learn.unfreeze("some")
    for wrong in ({"n": 0}, {"n": 1, "lr": -1.0}, {"n": 1, "batch": 1}):
        with pytest.raises(UsageError):
            learn.fit_one_cycle(**wrong)
    with pytest.raises(UsageError):
        learn.save("../out")
    assert sorted(path.name for path in (copied / "stages").iterdir()) == before


def test_another_process_elsewhere_ends_with_the_same_numbers(
    done, tiny_data, tiny_options, tmp_path
):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_learner
learn = test_learner.new(Path(sys.argv[1]), {tiny_options!r}, Path(sys.argv[2]))
test_learner.steps(learn)"""
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tiny_data), str(tmp_path / "run")],
        capture_output=True, text=True,
        env={"TELLAPART_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    for name in ("fit-1", "stage-1", "fit-2"):
        there, here = (
            tellapart.Run.load(folder / "stages" / name)
            for folder in (tmp_path / "run", done[0].run.folder)
        )
        assert same_arrays(there.probe, here.probe)
        assert there.predictions() == here.predictions()
