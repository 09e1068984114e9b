"""The verdict follows from the figures."""

import csv

import numpy as np
import pytest

from reporting.made_runs import made_run
from tellapart import report
from tellapart.evaluation.metrics import Metrics
from tellapart.reporting.charts import nice_ticks, percent
from tellapart.reporting.interpretation import Interpretation
from tellapart.reporting.verdict import judge


def verdict_of(tmp_path, valid, train=((80, 20), (20, 80)), **info):
    figures = {
        name: Metrics(("a", "b"), np.asarray(matrix), 0.3).to_json()
        for name, matrix in (("out_of_fold", train), ("valid", valid))
        if matrix is not None
    }
    run = made_run(
        tmp_path / "run", ["a", "b"], per_class=40, pictures=False, metrics=figures, **info
    )
    return judge(run, Interpretation.from_run(run), None)


@pytest.mark.parametrize(
    ("valid", "headline"),
    [
        (((500, 1), (1, 500)), "Right nearly always, on pictures like these"),
        (((190, 10), (5, 195)), "Right more than nine times in ten, on pictures like these"),
        (((90, 10), (10, 90)), "Good, on pictures like these"),
        (((70, 30), (30, 70)), "Useful where somebody looks over its answers"),
        (((60, 40), (40, 60)), "Better than guessing, and often wrong"),
        (((4, 1), (0, 5)), "Too few pictures to say how good it is"),
        (((90, 0), (10, 0)), "Not shown to be better than always giving the same answer"),
    ],
)
def test_headlines(tmp_path, valid, headline):
    assert verdict_of(tmp_path, valid).headline == headline


def test_sentences_give_the_interval_and_the_commonest_class(tmp_path):
    found = verdict_of(tmp_path, ((90, 10), (5, 45)))
    assert found.sentences[0].startswith(
        "Of 100 new pictures like these it should get about 90 right: between 84 "
    )
    assert "“a” would have been right 67 times in 100" in found.sentences[1]
    assert (found.always, found.commonest) == (pytest.approx(2 / 3), "a")


def test_figures_that_do_not_agree_are_said(tmp_path):
    found = verdict_of(tmp_path, ((50, 0), (1, 49)))
    assert any("the 100 others may be easier ones" in c.sentence for c in found.cautions)
    agreeing = verdict_of(tmp_path / "other", ((41, 9), (11, 39)))
    assert not any("Cross-validation" in c.sentence for c in agreeing.cautions)


def test_without_pictures_set_aside(tmp_path):
    found = verdict_of(tmp_path, None)
    assert found.main.name == "out_of_fold"
    assert any("No pictures were set aside" in caution.sentence for caution in found.cautions)


def test_weak_classes_are_named(tmp_path):
    run = made_run(tmp_path / "run", ["a", "b"], per_class=40, pictures=False)
    rows = run.predictions()
    for row in rows:
        row[4:] = ["0.9", "0.1"]  # everything is an a
    lines = [
        "path,split,label,predicted,p_a,p_b",
        *(",".join(f'"{cell}"' for cell in row) for row in rows),
    ]
    (run.folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    found = judge(run, Interpretation.from_run(run), None)
    assert any("Weak at “b” (0 % found)" in caution.sentence for caution in found.cautions)


def test_percents_never_claim_too_much():
    assert [percent(x) for x in (1, 0.99951, 0.5, 0.0002, 0)] == [
        "100 %",
        "> 99.9 %",
        "50 %",
        "< 0.1 %",
        "0 %",
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 1), (0, 0.0123), (0, 7350), (2, 3)])
def test_ticks_are_round_and_within(low, high):
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])


def test_a_class_without_pictures_set_aside_is_named(tmp_path):
    found = verdict_of(tmp_path, ((90, 10), (0, 0)))
    assert any("No picture of “b” is in the main figure" in c.sentence for c in found.cautions)


def test_a_leak_is_said_without_a_check_and_without_pictures(tmp_path):
    """By the groups that the run has kept, and by its own answers."""
    run = made_run(tmp_path / "run", ["a", "b"], per_class=40, pictures=False)
    file = run.folder / "dataset.csv"
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    for split in ("train", "valid"):
        next(row for row in rows if row["split"] == split)["group"] = "twins"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    held_out = sum(row["split"] != "train" for row in rows)
    said = [caution.sentence for caution in report(run, check=False).verdict.cautions]
    assert any(
        f"1 of the {held_out} pictures that it was measured on have a copy" in s for s in said
    )
