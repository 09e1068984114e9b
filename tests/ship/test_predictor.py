"""The Python answer: category, index, probabilities, for whatever a picture is given as."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import tellapart
from run_copies import copy_of_run
from tellapart.errors import ModelError, RunError, UsageError
from tellapart.ship.inputs import find_pictures
from tellapart.ship.prediction import SURE_FROM, Prediction, Rule
from tellapart.ship.predictor import Predictor
from tellapart.training.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (root / "data" / label).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(low, low + 100, (40, 50 + i, 3), np.uint8)
            Image.fromarray(pixels).resize((160, 120)).save(root / "data" / label / f"{i}.png")
    return tellapart.train(root / "data", root / "run")


def test_category_index_and_probabilities(run):
    predictor = tellapart.load(run.folder)
    category, index, probabilities = predictor.predict(Image.new("RGB", (100, 80), (220, 220, 200)))
    assert (category, index) == ("light", 1)
    assert probabilities.shape == (2,)
    assert probabilities.dtype == np.float32
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_the_same_picture_in_any_form_gets_the_same_answer(run, tmp_path):
    image = Image.effect_noise((140, 100), 60).convert("RGB")
    path = tmp_path / "noise.png"
    image.save(path)
    predictor = tellapart.load(run.folder)
    forms = [path, str(path), path.read_bytes(), image, np.asarray(image)]
    answers = [predictor.predict(form) for form in forms]
    for answer in answers:
        assert answer.error is None
        np.testing.assert_array_equal(answer.probabilities, answers[0].probabilities)


def test_images_of_every_mode_and_orientation_are_answered_as_their_files_are(run, tmp_path):
    predictor = tellapart.load(run.folder)
    image = Image.effect_noise((140, 100), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    for path in (tmp_path / "turned.jpg", tmp_path / "cmyk.jpg"):
        with Image.open(path) as opened:
            np.testing.assert_array_equal(
                predictor.predict(opened).probabilities, predictor.predict(path).probabilities
            )
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cmyk.jpg").read_bytes()[:2000])
    with Image.open(tmp_path / "cut.jpg") as opened:
        assert "truncated" in predictor.predict(opened).error
    assert predictor.predict(np.zeros((0, 5, 3), np.uint8)).error


def test_what_is_no_picture_gets_an_error_not_an_exception(run, tmp_path):
    predictor = tellapart.load(run.folder)
    for source in (b"text", tmp_path / "gone.png", np.zeros((4, 4), np.uint8), 42, b""):
        answer = predictor.predict(source)
        assert answer.error
        assert (answer.label, answer.index, answer.probability, answer.top()) == ("", -1, None, [])
        json.dumps(answer.to_json())


def test_many_in_order_lazily(run):
    predictor = tellapart.load(run.folder, workers=2)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Image.new("RGB", (64, 64), (255, 255, 255) if taken % 2 else (0, 0, 0))

    answers = predictor.predict_many(endless())
    labels = [next(answers).label for _ in range(6)]
    answers.close()
    assert labels == ["light", "dark"] * 3
    assert taken < 30


def test_another_graph_is_refused(run, tmp_path):
    info = json.loads((run.folder / "run.json").read_text())
    info["backbone"]["graph_sha256"] = "0" * 64
    (tmp_path / "run.json").write_text(json.dumps(info))
    with pytest.raises(ModelError, match="Train again"):
        tellapart.load(tmp_path)
    with pytest.raises(RunError):
        tellapart.load(tmp_path / "none")


def test_rich_display_escapes_what_comes_from_data(run):
    from dataclasses import replace

    hostile = {**run.info, "classes": ["<script>alert(1)</script>", "b"]}
    shown = replace(run, info=hostile)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    dataset = tellapart.Dataset.from_rows(".", [("a", "<b>x</b>"), ("b", "y")])
    assert "<b>" not in dataset._repr_html_()


def test_a_path_that_no_disk_can_hold_stops_nothing(run):
    long = "x" * 5000
    assert list(find_pictures([long, "gone.jpg"])) == [long, "gone.jpg"]
    assert [a.error is not None for a in tellapart.load(run.folder).predict_many([long])] == [True]


def test_inputs_from_standard_input_and_folders(tmp_path):
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "sub" / "no-extension", "PNG")
    (tmp_path / "star[1].jpg").write_bytes(b"x")
    found = [p.removeprefix(f"{tmp_path}/") for p in find_pictures([str(tmp_path)])]
    assert found == ["a.PNG", "b.jpg", "star[1].jpg", "sub/no-extension"]
    lines = io.BytesIO(f"{tmp_path}/b.jpg\r\n\n{tmp_path}/star[1].jpg\n".encode())
    assert list(find_pictures(["-", "gone.jpg"], lines)) == [
        f"{tmp_path}/b.jpg",
        f"{tmp_path}/star[1].jpg",
        "gone.jpg",
    ]
    assert list(find_pictures([f"{tmp_path}/*.jpg"])) == [
        f"{tmp_path}/b.jpg",
        f"{tmp_path}/star[1].jpg",
    ]


def test_verdicts_and_their_reasons():
    rule = Rule(0.81, 0.02, strange_from=2.3, kept=0.99)
    p = np.float32([0.62, 0.38])

    def answer(probabilities, **more):
        return Prediction("a.jpg", ("cat", "dog"), np.float32(probabilities), **more)

    unsure = answer(p, novelty=0.1, rule=rule)
    assert unsure.verdict == "not_sure"
    assert unsure.reason == "0.620 is below the 0.810 that keeps errors below 2 %"
    sure = answer([0.9, 0.1], novelty=2.3, rule=rule)
    assert sure.verdict == "sure"
    assert sure.reason == "0.900 reaches the 0.810 that keeps errors below 2 %"
    strange = answer([0.99, 0.01], novelty=5.1, rule=rule)
    assert strange.verdict == "none_of_these"
    assert "5.10 is above 2.30" in strange.reason
    assert "99 %" in strange.reason
    plain = answer(p)
    assert (plain.verdict, answer([0.71, 0.29]).verdict) == ("not_sure", "sure")
    assert plain.reason == "0.620 is below 0.700, which promises nothing"
    failed = answer([0, 0], error="gone", novelty=9.0, rule=rule)
    assert (failed.verdict, failed.reason) == (None, None)
    assert strange.to_json()["reason"] == strange.reason


def test_possible_classes_are_the_conformal_set_and_never_none():
    classes, p = ("cat", "dog", "owl"), np.float32([0.3, 0.6, 0.1])

    def possible(least, **more):
        rule = Rule(possible_from=least)
        return Prediction("a.jpg", classes, p, rule=rule, **more).possible

    assert possible(0.25) == ("dog", "cat")
    assert possible(0.0) == ("dog", "cat", "owl")
    assert possible(0.9) == ("dog",)
    assert possible(None) is None
    assert possible(0.25, error="gone") is None


def test_few_pictures_keep_the_default_and_refuse_a_promise(run):
    predictor = tellapart.load(run.folder)
    assert predictor.rule.sure_from == SURE_FROM
    assert predictor.rule.target_error is None
    assert any("training pictures cannot promise errors below 5 %" in note for note in run.notes)
    with pytest.raises(UsageError, match="cannot promise errors below 1 %"):
        tellapart.load(run.folder, target_error=0.01)
    with pytest.raises(UsageError, match="target error is 2"):
        tellapart.load(run.folder, target_error=2)


@pytest.fixture(scope="module")
def larger_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("larger")
    rng = np.random.default_rng(1)
    for label, low in (("dark", 0), ("light", 150)):
        (root / "data" / label).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(low, low + 100, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).resize((96, 72)).save(root / "data" / label / f"{i}.png")
    return tellapart.train(root / "data", root / "run", tellapart.TrainOptions(target_error=0.2))


def test_a_threshold_that_was_fitted_is_used_and_can_be_changed(larger_run, tmp_path):
    trust = larger_run.trust
    predictor = tellapart.load(larger_run.folder)
    assert predictor.rule.sure_from == trust.threshold.value
    assert predictor.rule.target_error == 0.2
    assert predictor.rule.possible_from == trust.sets[0.05] > 0
    other = tellapart.load(larger_run.folder, target_error=0.1)
    assert other.rule.sure_from == trust.threshold_for(0.1).value
    rng = np.random.default_rng(2)
    known = Image.fromarray(rng.integers(0, 100, (12, 16, 3), np.uint8)).resize((96, 72))
    answer = predictor.predict(known)
    assert answer.label == "dark"
    assert answer.verdict == "sure"
    assert "keeps errors below 20 %" in answer.reason
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::8, :, 0] = 255
    stripes[:, ::16, 1] = 255
    strange = predictor.predict(stripes)
    assert strange.verdict == "none_of_these"
    assert strange.novelty > trust.novelty.threshold


def test_the_run_holds_what_was_measured_and_its_copy_too(larger_run, tmp_path):
    info = larger_run.info["trust"]
    assert info["temperature"] == larger_run.info["probe"]["temperature"]
    assert set(info["calibration"]) == {"out_of_fold", "valid"}
    assert info["calibration"]["valid"]["after"]["n"] == larger_run.metrics["valid"].n
    copy = copy_of_run(larger_run, tmp_path / "copy")
    picture = Image.new("RGB", (60, 60), (40, 50, 60))
    one, two = (tellapart.load(r.folder).predict(picture) for r in (larger_run, copy))
    assert one.to_json() == two.to_json()
    (copy.folder / "trust.safetensors").unlink()
    with pytest.raises(RunError, match=r"trust\.safetensors"):
        tellapart.load(copy.folder)


def test_a_run_without_trust_answers_by_the_default(larger_run):
    run = Run(larger_run.folder, {k: v for k, v in larger_run.info.items() if k != "trust"})
    predictor = Predictor.of_run(run)
    assert predictor.rule == Rule()
    answer = predictor.predict(Image.new("RGB", (60, 60)))
    assert answer.novelty is None
    assert answer.verdict in ("sure", "not_sure")
    with pytest.raises(UsageError, match="fine-tuned stage"):
        Predictor.of_run(run, target_error=0.02)
