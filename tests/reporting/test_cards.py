"""The cards of the pictures and of the training: what they say, and how to do it again."""

import json
import shlex

import pytest
from PIL import Image

from reporting.made_runs import made_run
from tellapart.data.receipt import ReceiptRow, write_receipt
from tellapart.reporting.commands import commands_for
from tellapart.reporting.data_card import data_card
from tellapart.reporting.training_card import training_card


def configured(run, **config):
    (run.folder / "config.json").write_text(json.dumps({"data": "/my pictures", **config}))
    return run


@pytest.fixture
def made(tmp_path):
    return made_run(tmp_path / "run", ["a", "b"], pictures=False)


def test_the_command_says_what_is_not_usual(made):
    config = {
        "backbone": "tf_efficientnet_lite2",
        "valid": 0.25,
        "seed": 7,
        "size": None,
        "target_error": 0.05,
    }
    (line,), notes = commands_for(
        configured(made, **config, recipe={"recipe": "probe", "views": []})
    )
    assert shlex.split(line) == [
        "tellapart", "train", "/my pictures", "--out", str(made.folder),
        "--backbone", "tf_efficientnet_lite2", "--valid", "0.25", "--seed", "7",
    ]  # fmt: skip
    assert notes == ()


def test_the_command_of_a_training_in_epochs(made):
    recipe = {
        "recipe": "one-cycle", "epochs": 4, "lr": "0.002", "head": "hidden", "views": 2,
        "transforms": {"do_flip": False}, "batch": 32, "weight_decay": 0.01,
    }  # fmt: skip
    (line,), notes = commands_for(configured(made, recipe=recipe))
    assert line.endswith("--recipe one-cycle --epochs 4 --head hidden --views 2 --no-flip")
    assert notes == ("Set in Python alone: batch 32.",)


def test_a_dataset_of_python_is_said_to_be_one(made):
    _, notes = commands_for(configured(made, fingerprint="0" * 64))
    assert "on a Dataset" in notes[0]


def test_a_stage_whose_run_is_gone(made):
    info = {**made.info, "of_run": "x", "stage": "stage-2", "finetune": {"epochs": 2, "lr": "1e-4"}}
    (made.folder / "run.json").write_text(json.dumps(info))
    lines, notes = commands_for(type(made)(made.folder, info))
    assert lines == ()
    assert "not beside it" in notes[0]


def test_the_card_counts_sources_and_licences(tmp_path):
    run = made_run(tmp_path / "run", ["a", "b"], per_class=4)
    paths = [row[0] for row in run.predictions()]
    root = tmp_path / "run-pictures"
    hosts = ["www.art.org", "art.org", "photos.example", "photos.example"]
    rows = [
        ReceiptRow(
            f"https://{host}/{i}.png",
            "a",
            "ok",
            path=path,
            provenance=json.dumps({"License": "CC0"}),
        )
        for i, (host, path) in enumerate(zip(hosts, paths, strict=False))
    ]
    rows += [ReceiptRow("https://lost.example/1.png", "a", "failed", "timeout")]
    write_receipt(root / "receipt.csv", rows)
    card = data_card(run, run, paths, ["x", "x", "x", "y", "", "", "", ""])
    assert card.sources == (("art.org", 2), ("photos.example", 2))
    assert card.licences == (("CC0", 4),)
    assert (card.copies, card.total, card.there) == (2, 8, True)
    assert card.sizes.middle == (40, 40)
    assert card.sizes.formats == (("PNG", 8),)


def test_sizes_are_those_of_the_files(tmp_path):
    run = made_run(tmp_path / "run", ["a", "b"], per_class=4)
    paths = [row[0] for row in run.predictions()]
    Image.new("RGB", (300, 20)).save(tmp_path / "run-pictures" / paths[0])
    (tmp_path / "run-pictures" / paths[1]).write_bytes(b"nothing")
    sizes = data_card(run, run, paths, [""] * 8).sizes
    assert (sizes.n, sizes.smallest, sizes.largest) == (7, (40, 40), (300, 20))


def test_the_training_in_words(made):
    card = training_card(made)
    assert "a logistic regression was solved" in card.summary
    assert ("Licence of the weights", "Apache-2.0") in card.facts
    assert ("Penalty", "3 / number of pictures") in card.facts
    assert [name for name, *_ in card.seconds] == ["embedding", "fitting the head"]
    assert card.history is None
