"""Unfrozen training: a stage of a run that begins with the probe and ends as a graph."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

import torch
from PIL import Image
from safetensors.numpy import load_file

import tellapart
from tellapart.errors import DatasetError, RunError, UsageError
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.checkpoint import read_checkpoint, write_checkpoint
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.network import load_network
from tellapart.finetuning.pictures import Pictures

SIZE = 64  # px; enough for a network to run on


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Stripes that lie or stand, drawn over noise: 40 training and 12 validation pictures."""
    root = tmp_path_factory.mktemp("stripes")
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("valid", 6)):
        for label in ("lying", "standing"):
            for number in range(count):
                pixels = generator.integers(0, 120, (80, 80, 3), np.uint8)
                start = int(generator.integers(0, 10))
                pixels[start::10] += 130
                image = Image.fromarray(pixels if label == "lying" else pixels.transpose(1, 0, 2))
                (root / split / label).mkdir(parents=True, exist_ok=True)
                image.save(root / split / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return tellapart.train(data, folder, tellapart.TrainOptions(size=SIZE))


@pytest.fixture
def fresh(run, tmp_path):
    """The run in a folder where it has no stages yet."""
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("stages"))
    return tellapart.Run.load(tmp_path / "run")


OPTIONS = tellapart.FinetuneOptions(
    epochs=2, lr="1e-5..1e-4", batch=8, transforms=Transforms(do_flip=False, max_rotate=5)
)


@pytest.fixture(scope="module")
def stage(run):
    return tellapart.finetune(run, OPTIONS, workers=0)


def test_a_stage_is_a_run(run, stage):
    assert stage.folder == run.folder / "stages" / "stage-2"
    assert stage.classes == run.classes
    assert stage.info["backbone"]["graph_sha256"] != run.info["backbone"]["graph_sha256"]
    assert stage.metrics["valid"].n == 12
    assert not (stage.folder / "checkpoint.safetensors").exists()
    history = (stage.folder / "history.csv").read_text().splitlines()
    assert history[0].startswith("epoch,train_loss,valid_loss,errors,n")
    assert len(history) == 3


def test_it_predicts_without_torch_what_it_wrote(stage, data):
    code = f"""
import sys; sys.modules["torch"] = None
import json, tellapart
predictor = tellapart.load({str(stage.folder)!r})
rows = tellapart.Run.load({str(stage.folder)!r}).predictions()
for path, _, _, predicted, *probabilities in rows:
    found = predictor.predict({str(data)!r} + "/" + path)
    assert found.label == predicted, path
    assert max(abs(float(p) - q) for p, q in zip(probabilities, found.probabilities)) < 1e-4
print(len(rows))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "12"


def test_it_begins_with_the_probe(run, data):
    """Before the first step the classifier answers as the run does."""
    classifier = Classifier(load_network("tf_efficientnet_lite0"), run.probe).eval()
    rows = {row[0]: row[4:] for row in run.predictions() if row[1] == "valid"}
    pictures = Pictures(data, list(rows), [0] * len(rows), run.preprocess)
    (pixels, _), *more = list(pictures.batches(len(rows)))
    assert not more
    with torch.inference_mode():
        found = classifier(pixels).softmax(dim=1).numpy()
    expected = np.asarray([[float(p) for p in row] for row in rows.values()])
    assert np.abs(found - expected).max() < 2e-3  # the cache keeps features in half precision


def test_killed_at_any_moment_it_ends_with_the_same_weights(fresh, stage, tmp_path):
    code = f"""
import sys, time, pathlib
import tellapart, torch
from tellapart.finetuning import loop
from tellapart.finetuning.augment import Transforms
torch.set_num_threads({torch.get_num_threads()})
loop._SECONDS_BETWEEN_CHECKPOINTS = 0.0
options = tellapart.FinetuneOptions(epochs=2, lr="1e-5..1e-4", batch=8,
    transforms=Transforms(do_flip=False, max_rotate=5))
def progress(what, done, total):
    pathlib.Path(sys.argv[1]).write_text(str(done))
    time.sleep(0.15)
tellapart.finetune({str(fresh.folder)!r}, options, workers=0, progress=progress)
"""
    killed = 0
    for stop in (2, 5, 7):
        at = tmp_path / f"at-{stop}"
        with subprocess.Popen([sys.executable, "-c", code, str(at)]) as process:
            while process.poll() is None and (not at.exists() or int(at.read_text() or 0) < stop):
                time.sleep(0.02)
            killed += process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "at")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert killed == 3
    again = tellapart.Run.load(fresh.folder / "stages" / "stage-2")
    assert not (fresh.folder / "stages" / "stage-3").exists()
    mine = load_file(again.folder / "network.safetensors")
    left_alone = load_file(stage.folder / "network.safetensors")
    assert all(np.array_equal(mine[name], left_alone[name]) for name in left_alone)
    assert np.array_equal(again.probe.weights, stage.probe.weights)


def test_stages_begin_where_they_are_told_to(fresh):
    one = tellapart.FinetuneOptions(epochs=1, batch=16, unfreeze="0", lr="1e-4")
    second = tellapart.finetune(fresh, one, workers=0)
    third = tellapart.finetune(fresh, one, workers=0)
    back = tellapart.finetune(fresh, one, start="stage-1", name="again", workers=0)
    assert (second.info["from"], third.info["from"]) == ("stage-1", "stage-2")
    assert back.info["from"] == "stage-1"
    assert np.array_equal(back.probe.weights, second.probe.weights)
    assert not np.array_equal(third.probe.weights, second.probe.weights)
    with pytest.raises(UsageError, match="stage-1, again, stage-2, stage-3"):
        tellapart.finetune(fresh, one, start="stage-9")
    other = tellapart.FinetuneOptions(epochs=1)
    with pytest.raises(RunError, match="other options"):
        tellapart.finetune(fresh, other, start="stage-1", name="again")
    with pytest.raises(UsageError, match="cannot begin with itself"):
        tellapart.finetune(fresh, other, name="again")


def test_what_is_frozen_does_not_move(run):
    classifier = Classifier(load_network("tf_efficientnet_lite0"), run.probe)
    groups = len(classifier.network.parameter_groups())
    assert classifier.unfreeze("all") == groups
    assert classifier.unfreeze("last") == 1
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    classifier.train()
    optimizer = torch.optim.SGD([p for p in classifier.parameters() if p.requires_grad], lr=0.1)
    classifier(torch.randn(4, 3, SIZE, SIZE)).sum().backward()
    optimizer.step()
    after = classifier.network.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    learning = {name for name, _ in classifier.network.parameter_groups()[-1]}
    assert moved
    assert not any("running_" in name for name in moved)  # nor do the norms' statistics
    assert {name.removeprefix("model.").rpartition(".")[0] for name in moved} <= {
        name.rpartition(".")[0] for name in learning
    }
    with pytest.raises(UsageError):
        classifier.unfreeze(groups + 1)


def test_batches_are_the_same_whoever_asks(run, data):
    paths = sorted(str(p.relative_to(data)) for p in (data / "train").rglob("*.png"))[:11]
    pictures = Pictures(data, paths, list(range(11)), run.preprocess, Transforms(), seed=3)
    whole = list(pictures.batches(5, epoch=1))
    assert [len(targets) for _, targets in whole] == [5, 6]  # one alone joins the one before
    assert sorted(torch.cat([targets for _, targets in whole]).tolist()) == list(range(11))
    torch.manual_seed(99)
    rest = list(pictures.batches(5, epoch=1, first=1, workers=1))
    assert len(rest) == 1
    assert all(torch.equal(a, b) for a, b in zip(rest[0], whole[1], strict=True))
    other = list(pictures.batches(5, epoch=2))
    assert not torch.equal(other[0][0], whole[0][0])


def test_a_checkpoint_brings_everything_back(tmp_path):
    torch.manual_seed(0)
    model, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    other = torch.optim.AdamW(twin.parameters(), lr=0.5)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    step(model, optimizer)
    write_checkpoint(tmp_path / "c", model, optimizer, {"epoch": 1, "loss": 0.1 + 0.2})
    assert read_checkpoint(tmp_path / "c", twin, other) == {"epoch": 1, "loss": 0.1 + 0.2}
    for group in other.param_groups:
        group["lr"] = 0.1
    step(model, optimizer)
    step(twin, other)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:40])
    with pytest.raises(RunError, match="begin anew"):
        read_checkpoint(tmp_path / "c", twin, other)


def test_wrong_use(run, data, tmp_path):
    for wrong in (
        {"epochs": 0}, {"batch": 1}, {"lr": "fast"}, {"label_smoothing": 1.0}, {"accumulate": 0},
        {"mixup": -0.1}, {"cutmix": float("nan")}, {"ema": 1.0}, {"patience": -1},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            tellapart.FinetuneOptions(**wrong)
    with pytest.raises(UsageError):
        Transforms(max_zoom=0.5)
    with pytest.raises(UsageError):
        tellapart.FinetuneOptions(unfreeze="some")
    whole = tellapart.train(
        data / "train", tmp_path / "run", tellapart.TrainOptions(size=SIZE, valid=0)
    )
    with pytest.raises(DatasetError, match="no validation"):
        tellapart.finetune(whole)


def test_the_command(fresh):
    command = [sys.executable, "-m", "tellapart.cli.main", "finetune", str(fresh.folder)]
    options = [
        "--epochs",
        "1",
        "--batch",
        "16",
        "--unfreeze",
        "last",
        "--no-flip",
        "--workers",
        "1",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    assert table[0].split() == ["epoch", "train_loss", "valid_loss", "error_rate", "wrong", "time"]
    assert table[1].split()[0] == "0"
    assert "of 12" in table[1]
    assert "stage-2" in done.stderr
    dials = "--accumulate 2 --mixup 0.2 --cutmix 1 --ema 0.5 --patience 1 --json --name x"
    events, has_tensorboard = fresh.folder.parent / "events", find_spec("tensorboard") is not None
    if has_tensorboard:
        dials += f" --tensorboard {events}"
    shown = subprocess.run([*command, *options, *dials.split()], capture_output=True, text=True)
    found = json.loads(shown.stdout)
    assert found["stage"] == "x"
    kept = {name: found["finetune"][name] for name in ("accumulate", "mixup", "cutmix", "ema")}
    assert kept == {"accumulate": 2, "mixup": 0.2, "cutmix": 1.0, "ema": 0.5}
    assert any("4 training pictures that were set aside" in note for note in found["fit_notes"])
    assert has_tensorboard == any(events.glob("x/events.*"))


def test_the_rate_finder_leaves_everything_as_it_was(fresh, monkeypatch):
    from tellapart.finetuning import lr_find

    kept = {}
    new_classifier = lr_find.new_classifier

    def remember(*arguments):
        kept["classifier"] = new_classifier(*arguments)
        state = kept["classifier"].state_dict()
        kept["before"] = {name: tensor.clone() for name, tensor in state.items()}
        return kept["classifier"]

    monkeypatch.setattr(lr_find, "new_classifier", remember)
    options = tellapart.FinetuneOptions(unfreeze="last", batch=8)
    found, suggestions = tellapart.lr_find(fresh, options, steps=20, restarts=2, workers=0)
    assert found.losses.shape == (2, 20)
    assert not np.allclose(found.losses[0], found.losses[1])  # other minibatches
    assert (suggestions.valley is None) == bool(suggestions.refusal)
    after = kept["classifier"].state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in kept["before"].items())
    assert sorted(path.name for path in fresh.folder.iterdir()) == sorted(
        ["config.json", "dataset.csv", "failures.csv", "predictions.csv", "probe.safetensors", "run.json",
         "trust.safetensors"]
    )  # fmt: skip


QUICK = tellapart.FinetuneOptions(epochs=1, batch=16, unfreeze="0", lr="1e-4")


def test_a_run_that_was_trained_anew_has_no_stages_of_the_old_one(data, tmp_path):
    """Its validation pictures may have been the old one's training pictures."""
    flat = tmp_path / "flat"
    for file in (data / "train").rglob("*.png"):
        (flat / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, flat / file.parent.name / file.name)
    options = tellapart.TrainOptions(size=SIZE, seed=0)
    old = tellapart.train(flat, tmp_path / "run", options)
    tellapart.finetune(old, QUICK, workers=0)
    new = tellapart.train(
        flat, tmp_path / "run", tellapart.TrainOptions(size=SIZE, seed=5), overwrite=True
    )
    stage = tellapart.finetune(new, QUICK, workers=0)
    assert stage.info["from"] == "stage-1"
    with pytest.raises(UsageError, match="of its own"):
        tellapart.finetune(new, QUICK, start="stage-2")
    with pytest.raises(RunError, match="is a stage"):
        tellapart.finetune(stage, QUICK)
    with pytest.raises(UsageError):
        tellapart.finetune(new, QUICK, start=str(stage.folder))


def test_other_options_never_go_on_from_a_checkpoint(fresh):
    class Stop(Exception):
        pass

    def stop(row):
        raise Stop

    begun = tellapart.FinetuneOptions(epochs=3, batch=16, unfreeze="0", lr="1e-2")
    with pytest.raises(Stop):
        tellapart.finetune(fresh, begun, name="try", workers=0, on_epoch=stop)
    assert (fresh.folder / "stages" / "try" / "checkpoint.safetensors").exists()
    stage = tellapart.finetune(fresh, QUICK, name="try", workers=0)
    assert np.array_equal(
        stage.probe.weights,
        tellapart.finetune(fresh, QUICK, start="stage-1", workers=0).probe.weights,
    )


def test_pictures_that_changed_or_went_are_no_numbers(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    run = tellapart.train(tmp_path / "data", tmp_path / "run", tellapart.TrainOptions(size=SIZE))
    (tmp_path / "data" / "valid" / "lying" / "0.png").unlink()
    Image.new("RGB", (80, 80)).save(tmp_path / "data" / "valid" / "lying" / "1.png")
    with pytest.raises(DatasetError, match="2 pictures"):
        tellapart.finetune(run, QUICK)
    assert not (tmp_path / "run" / "stages").exists()
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DatasetError, match="not there any more"):
        tellapart.finetune(run, QUICK)


def test_wrong_options_leave_no_stage(fresh):
    with pytest.raises(UsageError):
        tellapart.finetune(fresh, tellapart.FinetuneOptions(unfreeze="99"))
    with pytest.raises(UsageError):
        tellapart.FinetuneOptions(seed=10**20)
    assert not (fresh.folder / "stages").exists()
