"""Activations that are kept: each frozen layer runs once a view, and a stage is what it would have been."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("timm", reason="timm is not installed")

import torch
from PIL import Image
from safetensors.numpy import load_file
from tiny_classifiers import planted, random_classifier

import tellapart
from tellapart.errors import UsageError
from tellapart.finetuning import kept_activations
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.kept_activations import kept_below
from tellapart.finetuning.pictures import Pictures
from tellapart.model.preprocess import PreprocessSpec

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Dim and bright noise: 17 training and 6 validation pictures."""
    root = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    for split, count in (("train", 17), ("valid", 6)):
        for number in range(count):
            label = ("dim", "bright")[number % 2]
            pixels = generator.integers(0, 120 + 40 * (number % 2), (80, 80, 3), np.uint8)
            (root / split / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / split / label / f"{number}.png")
    return root


def pictures_of(data, split, transforms=None):
    paths = sorted(str(path.relative_to(data)) for path in (data / split).rglob("*.png"))
    spec = PreprocessSpec(SIZE, "squish", 1.0, "bilinear", (0.5,) * 3, (0.25,) * 3)
    return Pictures(data, paths, [i % 2 for i in range(len(paths))], spec, transforms, seed=4)


def test_each_picture_runs_once_for_each_view(data, tmp_path):
    classifier = random_classifier()
    rows = []
    calls = []
    classifier.network.model.conv1[0].register_forward_hook(
        lambda module, x, answer: calls.append(len(answer))
    )
    train, valid = pictures_of(data, "train", Transforms()), pictures_of(data, "valid")
    with kept_below(
        classifier, [train, valid], 4, 2, tmp_path, on_picture=lambda *row: rows.append(row)
    ) as kept:
        assert not kept.refusal
        made = len(calls)
        assert sum(calls) - sum(calls[: -(2 * train.steps(4) + valid.steps(4))]) == 2 * 17 + 6
        for epoch in range(5):
            for part in kept.pictures:
                for packed, _ in part.batches(4, epoch):
                    classifier(packed).sum().backward()
        assert len(calls) == made
        assert list(tmp_path.iterdir()) == []  # the file has no name that could be left behind
    assert rows[-1] == (40, 40)
    assert classifier.replay is None


def test_epochs_show_the_views_in_turn_each_in_an_order_of_its_own(data, tmp_path):
    classifier = random_classifier()
    train, valid = pictures_of(data, "train", Transforms()), pictures_of(data, "valid")
    classifier.eval()
    with torch.no_grad():
        views = [answers(classifier, train, epoch) for epoch in range(2)]
        plain = answers(classifier, valid, 0)
        with kept_below(classifier, [train, valid], 5, 2, tmp_path) as kept:
            pictures, unchanged = kept.pictures
            shown = [answers(classifier, pictures, epoch) for epoch in range(4)]
            assert torch.allclose(answers(classifier, unchanged, 3), plain, atol=1e-3)
            whole = list(pictures.batches(5, 2))
            rest = list(pictures.batches(5, 2, first=1))
    assert not torch.allclose(views[0], views[1], atol=1e-2)
    for epoch in range(4):
        assert torch.allclose(shown[epoch], views[epoch % 2], atol=3e-2)
    assert torch.equal(rest[0][0], whole[1][0])
    assert train.plan(5, 2) != train.plan(5, 0)
    assert [len(targets) for _, targets in whole] == [5, 5, 5, 2]


def answers(classifier, pictures, epoch):
    """Logits by picture, whatever their order, of an epoch's batches of other sizes."""
    found = torch.empty(len(pictures.paths), 2)
    for chosen, (x, targets) in zip(
        pictures.plan(4, epoch), pictures.batches(4, epoch), strict=True
    ):
        assert targets.tolist() == [pictures.targets[place] for place in chosen]
        found[chosen] = classifier(x)
    return 100 * found


def test_the_same_bits_are_made_again(data, tmp_path):
    train = pictures_of(data, "train", Transforms())
    made = []
    for _ in range(2):
        with kept_below(random_classifier(), [train], 4, 2, tmp_path) as kept:
            made.append(kept.pictures[0].rows.tobytes())
    assert made[0] == made[1]


def test_where_it_cannot_be_kept_all_stays_as_it_was(data, tmp_path, monkeypatch):
    train = pictures_of(data, "train")

    def refusal(classifier, pictures=train):
        with kept_below(classifier, [pictures], 4, 1, tmp_path) as kept:
            assert kept.pictures == [pictures]
            assert classifier.replay is None
            return kept.refusal

    assert "most of its frozen layers" in refusal(random_classifier(unfreeze="all"))
    alone = replace(train, paths=train.paths[:1], targets=train.targets[:1])
    assert "no two pictures" in refusal(random_classifier(), alone)
    huge = planted(huge_above_layer3)
    assert "half precision" in refusal(huge)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(kept_activations.shutil, "disk_usage", lambda folder: usage)
    assert "0.0 GB are free" in refusal(random_classifier())


def huge_above_layer3(name, model, before, maps):
    """Small again for layer4, so that nothing but half precision has any trouble with it."""
    if name == "layer3" and len(model.layer3) < 3:
        model.layer3 = torch.nn.Sequential(*model.layer3, torch.nn.Identity(), Times(1e6))
    return getattr(model, name)(before / 1e6 if name == "layer4" else before)


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_a_full_disk_is_no_loss(data, tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_activations.tempfile, "TemporaryFile", lambda dir: Full())
    with kept_below(random_classifier(), [pictures_of(data, "train")], 4, 1, tmp_path) as kept:
        assert "No space left on device" in kept.refusal


# A stage of a run.

OPTIONS = tellapart.FinetuneOptions(
    epochs=3, lr="1e-4", unfreeze="last", batch=8, views=2, transforms=Transforms(max_rotate=5)
)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return tellapart.train(data, folder, tellapart.TrainOptions(size=SIZE))


@pytest.fixture(scope="module")
def stage(run):
    return tellapart.finetune(run, OPTIONS, name="left-alone", workers=0)


CODE = """
import sys, time, pathlib, tellapart, torch
from tellapart.finetuning import loop
from tellapart.finetuning.augment import Transforms
torch.set_num_threads(1)
loop._SECONDS_BETWEEN_CHECKPOINTS = 0.0
def progress(what, done, total):
    pathlib.Path(sys.argv[2]).write_text(f"{what} {done}")
    time.sleep(0.15)
options = tellapart.FinetuneOptions(epochs=3, lr="1e-4", unfreeze="last", batch=8, views=2,
    transforms=Transforms(max_rotate=5))
tellapart.finetune(sys.argv[1], options, start="stage-1", name="killed", workers=0, progress=progress)
"""


def test_killed_at_any_moment_it_ends_with_the_same_weights(run, stage, tmp_path):
    command = [sys.executable, "-c", CODE, str(run.folder)]
    for moment in ("embed 17", "finetune 3"):
        at = tmp_path / moment
        with subprocess.Popen([*command, str(at)]) as process:
            while process.poll() is None and (not at.exists() or at.read_text() != moment):
                time.sleep(0.02)
            assert process.poll() is None, "too late to be killed"
            os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run([*command, str(tmp_path / "at")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mine = load_file(run.folder / "stages" / "killed" / "network.safetensors")
    left_alone = load_file(stage.folder / "network.safetensors")
    assert all(np.array_equal(mine[name], left_alone[name]) for name in left_alone)


def test_with_views_enough_it_ends_as_without_a_cut(run):
    def history(views):
        options = replace(OPTIONS, epochs=2, views=views)
        rows = []
        tellapart.finetune(
            run, options, start="stage-1", name=f"v{views}", workers=0, on_epoch=rows.append
        )
        return np.asarray([(row.train_loss, row.valid_loss) for row in rows])

    without = history(0)
    assert np.allclose(history(2), without, rtol=2e-3)
    assert not np.allclose(history(1)[1], without[1], rtol=2e-3)


def test_a_stage_says_where_the_frozen_layers_run_in_each_epoch(run, stage):
    def said(stage):
        return [note for note in stage.notes if "frozen layers run in each epoch" in note]

    assert not said(stage)
    mixed = replace(OPTIONS, epochs=1, mixup=0.2)
    heard = []
    found = tellapart.finetune(
        run, mixed, start="stage-1", name="mixed", workers=0, on_note=heard.append
    )
    assert "mixed" in said(found)[0]
    with pytest.raises(UsageError, match="views is -1"):
        replace(OPTIONS, views=-1)
