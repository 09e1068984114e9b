"""The main job through the command line: a folder in, a measured classifier out, answers on new pictures."""

import csv
import importlib.util
import json
import os
import random
import shutil
from io import BytesIO
from math import log

import pytest
from PIL import Image

from tellapart.evaluation.metrics import wilson_interval

SPLITS = {"train": "out_of_fold", "valid": "valid", "test": "test"}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_run_json_agrees_with_predictions_csv(run, gallery):
    info = json.loads((run / "run.json").read_text())
    rows = rows_of(run / "predictions.csv")
    classes = sorted(path.name for path in gallery.iterdir() if path.is_dir())
    assert info["classes"] == classes
    assert list(rows[0]) == ["path", "split", "label", "predicted", *(f"p_{c}" for c in classes)]
    assert len(rows) == 5 * 16
    assert {row["split"] for row in rows} == {"train", "valid"}
    for split in {row["split"] for row in rows}:
        own = [row for row in rows if row["split"] == split]
        m = info["metrics"][SPLITS[split]]
        errors = sum(row["predicted"] != row["label"] for row in own)
        low, high = wilson_interval(len(own) - errors, len(own))
        assert (m["n"], m["errors"]) == (len(own), errors)
        assert m["accuracy"] == pytest.approx(1 - errors / len(own))
        assert (m["accuracy_low"], m["accuracy_high"]) == pytest.approx((low, high))
        loss = -sum(log(float(row[f"p_{row['label']}"])) for row in own) / len(own)
        assert m["log_loss"] == pytest.approx(loss, abs=1e-4)
        for name in classes:
            hits = sum(row["label"] == row["predicted"] == name for row in own)
            n = sum(row["label"] == name for row in own)
            assert m["per_class"][name]["n"] == n
            assert m["per_class"][name]["recall"] == pytest.approx(hits / n)
    for row in rows:
        p = {name: float(row[f"p_{name}"]) for name in classes}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(p, key=p.__getitem__)
    assert info["dataset"]["counts"]["valid"] == dict.fromkeys(classes, 3)
    assert {"embed", "probe"} <= info["seconds"].keys()
    assert info["backbone"]["licence"] == "Apache-2.0"


def test_it_learns_far_more_than_chance(run):
    assert json.loads((run / "run.json").read_text())["metrics"]["out_of_fold"]["accuracy"] > 0.7


def test_the_second_time_runs_no_forward_pass_and_says_the_same(tellapart, gallery, run):
    before = (run / "predictions.csv").read_bytes()
    again = tellapart("train", gallery, "--out", run, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["computed"] == 0
    assert (run / "predictions.csv").read_bytes() == before


def test_hash_seed_and_file_order_change_nothing(tellapart, gallery, run, tmp_path):
    """The same files written in another order, elsewhere, with a fresh cache."""
    files = [path for path in gallery.rglob("*") if path.suffix in (".jpg", ".png")]
    random.Random(7).shuffle(files)
    for file in files:
        copy = tmp_path / "art" / file.relative_to(gallery)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    done = tellapart(
        "train", tmp_path / "art", "--out", tmp_path / "run", "--workers", 3,
        PYTHONHASHSEED="4242", TELLAPART_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (
        run / "predictions.csv"
    ).read_bytes()


def test_another_seed_divides_otherwise(tellapart, gallery, run, tmp_path):
    done = tellapart("train", gallery, "--out", tmp_path / "run", "--seed", 1)
    assert done.returncode == 0
    splits = [
        [row["split"] for row in rows_of(r / "predictions.csv")] for r in (run, tmp_path / "run")
    ]
    assert splits[0] != splits[1]


def test_a_run_of_other_options_is_not_replaced_by_accident(tellapart, gallery, run):
    done = tellapart("train", gallery, "--out", run, "--seed", 5)
    assert done.returncode == 1
    assert "--overwrite" in done.stderr


def test_predict_json_answers_in_the_order_asked(tellapart, run, gallery, tmp_path):
    good = sorted((gallery / "sculpture").iterdir())[0]
    bad = tmp_path / "text.jpg"
    bad.write_text("not a picture")
    cut = tmp_path / "cut \u2603\n.jpg"
    Image.effect_noise((300, 300), 50).save(tmp_path / "whole.jpg")
    cut.write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    asked = [bad, good, tmp_path / "gone.jpg", cut, good]
    done = tellapart("predict", run, *asked, "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [answer["path"] for answer in answers] == [str(path) for path in asked]
    reasons = [answer["error"] and answer["error"].split(" (")[0] for answer in answers]
    assert reasons == ["not an image", None, "missing", "truncated", None]
    answer = answers[1]
    classes = json.loads((run / "run.json").read_text())["classes"]
    assert list(answer) == [
        "path",
        "label",
        "probability",
        "probabilities",
        "verdict",
        "reason",
        "possible",
        "error",
    ]
    assert list(answer["probabilities"]) == classes
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["probability"] == answer["probabilities"][answer["label"]]
    assert answer["verdict"] in ("sure", "not_sure")
    assert answers[0]["label"] is None
    assert answers[1] == answers[4]


def test_predictions_of_the_run_and_of_predict_agree(tellapart, run, gallery):
    rows = [row for row in rows_of(run / "predictions.csv") if row["split"] == "valid"]
    done = tellapart("predict", run, *(gallery / row["path"] for row in rows), "--json")
    for row, line in zip(rows, done.stdout.splitlines(), strict=True):
        for name, p in json.loads(line)["probabilities"].items():
            assert float(row[f"p_{name}"]) == pytest.approx(p, abs=1e-5)


def test_predict_takes_folders_patterns_and_standard_input(tellapart, run, gallery):
    folder = tellapart("predict", run, gallery / "drawings", "--csv")
    pattern = tellapart("predict", run, f"{gallery}/drawings/*", "--csv")
    names = "".join(f"{path}\n" for path in sorted((gallery / "drawings").iterdir()))
    piped = tellapart("predict", run, "-", "--csv", input=names)
    assert folder.returncode == 0
    assert folder.stdout == pattern.stdout == piped.stdout
    assert len(folder.stdout.splitlines()) == 1 + 16


def test_predict_prints_a_table_for_people(tellapart, run, gallery):
    picture = sorted((gallery / "engraving").iterdir())[0]
    done = tellapart("predict", run, picture, "--top", 3)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["class", "probability", "verdict", "picture"]
    assert len(lines) == 1 + 3
    assert lines[1].endswith(str(picture))
    assert done.stderr == ""


def test_ten_broken_of_two_hundred(tellapart, tmp_path):
    """Trains on 190 and names the 10, with exit status 3."""
    data = tmp_path / "data"
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (data / name).mkdir(parents=True)
        for i in range(100):
            noise = Image.effect_noise((64, 48), 40 + i / 3).convert("RGB")
            Image.blend(noise, Image.new("RGB", noise.size, colour), 0.5).save(
                data / name / f"{i:03}.jpg"
            )
    broken = {}
    for i, (name, number) in enumerate((n, 7 * k) for k in range(1, 6) for n in ("red", "blue")):
        path = data / name / f"{number:03}.jpg"
        whole = path.read_bytes()
        damages = [b"", whole[:300], b"<html>404</html>", b"\x00" * 999, whole[: len(whole) // 2]]
        path.write_bytes(damages[i // 2])
        broken[f"{name}/{number:03}.jpg"] = (
            "empty",
            None,
            "not an image",
            "not an image",
            "truncated",
        )[i // 2]
    done = tellapart("train", data, "--out", tmp_path / "run")
    assert done.returncode == 3, done.stderr
    failures = rows_of(tmp_path / "run" / "failures.csv")
    assert {row["path"] for row in failures} == broken.keys()
    for row in failures:
        assert broken[row["path"]] in (None, row["reason"])
        assert row["path"] in done.stderr
    assert len(rows_of(tmp_path / "run" / "predictions.csv")) == 190
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["dataset"]["failures"] == 10
    assert sum(sum(c.values()) for c in info["dataset"]["counts"].values()) == 190


def test_wrong_use_and_impossible_jobs(tellapart, run, gallery, tmp_path):
    assert tellapart("train").returncode == 2
    assert tellapart("nonsense").returncode == 2
    unknown = tellapart("train", gallery, "--out", tmp_path / "r", "--backbone", "no")
    without_timm = importlib.util.find_spec("timm") is None  # it could be one of timm's
    assert unknown.returncode == (1 if without_timm else 2)
    assert "tf_efficientnet_lite0" in unknown.stderr
    assert tellapart("train", gallery, "--out", tmp_path / "s", "--valid", "1.5").returncode == 2
    assert tellapart("predict", run, "x.jpg", "--json", "--csv").returncode == 2
    assert tellapart("train", gallery, "--out", tmp_path / "t", "--seed", "-1").returncode == 2
    outside = tellapart(
        "train", gallery, "--train-dir", "painting", "--valid-dir", "/etc", "--out", tmp_path / "u"
    )
    assert outside.returncode == 1
    assert "Traceback" not in outside.stderr
    missing = tellapart("train", tmp_path / "nowhere")
    assert missing.returncode == 1
    assert missing.stderr.startswith("Error:")
    assert "Traceback" not in missing.stderr
    assert tellapart("predict", tmp_path, "x.jpg").returncode == 1


def test_markup_and_escapes_in_names_are_shown_as_text(tellapart, tmp_path):
    for label in ("[red]bold", "esc\x1b[31m"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            Image.effect_noise((60 + i, 60), 60).save(tmp_path / "data" / label / f"{i}.png")
    done = tellapart("train", tmp_path / "data", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "[red]bold" in done.stdout
    assert "\x1b[31m" not in done.stdout
    picture = tmp_path / "data" / "[red]bold" / "0.png"
    shown = tellapart("predict", tmp_path / "run", picture)
    assert "[red]bold" in shown.stdout
    assert "\x1b[31m" not in shown.stdout


def test_names_that_are_not_valid_unicode(tellapart, tmp_path):
    """As old archives have them: the label and the files, from training to predicting."""
    for label in (b"caf\xe9", b"th\xe9"):
        folder = os.fsencode(tmp_path / "data") + b"/" + label
        os.makedirs(folder)
        for i in range(6):
            file = BytesIO()
            Image.effect_noise((60 + i, 60), 60).save(file, "PNG")
            with open(folder + b"/na\xefve-%d.png" % i, "wb") as out:
                out.write(file.getvalue())
    done = tellapart("train", tmp_path / "data", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    classes = json.loads(done.stdout)["classes"]
    assert [os.fsencode(name) for name in classes] == [b"caf\xe9", b"th\xe9"]
    for form in ("--json", "--csv", "--quiet"):
        answers = tellapart("predict", tmp_path / "run", tmp_path / "data", form)
        assert answers.returncode == 0, answers.stderr
        assert len(answers.stdout.splitlines()) == 12 + (form != "--json")


def test_imbalance_is_handled_and_said(tellapart, gallery, tmp_path):
    for name, n in (("painting", 16), ("sculpture", 4)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in sorted((gallery / name).iterdir())[:n]:
            shutil.copyfile(path, tmp_path / "data" / name / path.name)
    done = tellapart("train", tmp_path / "data", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["probe"]["balanced"] is True
    assert "every class weighs the same" in done.stderr
    other = tellapart(
        "train", tmp_path / "data", "--out", tmp_path / "plain", "--class-weight", "none"
    )
    assert other.returncode == 0
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["probe"]["balanced"] is False


def test_a_class_that_is_lost_whole_does_not_stop_the_others(tellapart, gallery, tmp_path):
    shutil.copytree(gallery, tmp_path / "data")
    (tmp_path / "data" / "zebra").mkdir()
    (tmp_path / "data" / "zebra" / "only.jpg").write_bytes(b"no picture")
    done = tellapart("train", tmp_path / "data", "--out", tmp_path / "run")
    assert done.returncode == 3, done.stderr
    assert "'zebra'" in done.stderr
    classes = json.loads((tmp_path / "run" / "run.json").read_text())["classes"]
    assert "zebra" not in classes
    assert len(classes) == 5


def test_a_class_of_one_group_is_trained_on(tellapart, gallery, tmp_path):
    """Its group cannot be divided, so it must not fall to the validation part."""
    lines = ["path,label,group"]
    for label in ("painting", "sculpture", "drawings"):
        for i, path in enumerate(sorted((gallery / label).iterdir())):
            lines.append(f"{path},{label},{'one' if label == 'drawings' else i % 8}-{label}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    for seed in range(4):
        done = tellapart(
            "train", tmp_path / "table.csv", "--out", tmp_path / f"run{seed}", "--seed", seed,
            "--valid", "0.5",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_leaks_of_a_given_split_are_said(tellapart, gallery, tmp_path):
    for split, names in (("train", range(10)), ("val", range(8, 14))):
        for label in ("painting", "sculpture"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            files = sorted((gallery / label).iterdir())
            for i in names:
                shutil.copyfile(files[i], folder / f"{split}-{files[i].name}")
    done = tellapart("train", tmp_path / "data", "--out", tmp_path / "run")
    assert done.returncode == 0
    assert "4 of 12 held-out pictures have a copy in training" in done.stderr


def test_smallest_data_sets(tellapart, gallery, tmp_path):
    """One picture per class; one class with a single picture."""
    for case, counts in (("one", (1, 1)), ("lone", (9, 1))):
        for label, n in zip(("painting", "sculpture"), counts, strict=True):
            (tmp_path / case / label).mkdir(parents=True)
            for path in sorted((gallery / label).iterdir())[:n]:
                shutil.copyfile(path, tmp_path / case / label / path.name)
        done = tellapart("train", tmp_path / case, "--out", tmp_path / f"run-{case}")
        assert done.returncode == 0, done.stderr
        assert "only one training picture of" in done.stderr
