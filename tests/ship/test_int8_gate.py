"""What 8 bits cost, on answers whose difference is known."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellapart.ship.int8_gate import compare_precisions, loss_interval


def answers(right, n, sure=0.9):
    """Probabilities (n, 2) whose first `right` pictures are class 0, as all are."""
    first = np.where(np.arange(n) < right, sure, 1 - sure)
    return np.stack([first, 1 - first], axis=1)


def gate(before, after, n=300, **options):
    return compare_precisions(answers(before, n), answers(after, n), np.zeros(n, int), **options)


def test_counts_and_changes():
    targets = np.array([0, 0, 1, 1, 0])
    first = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.3, 0.7]])
    second = np.array([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    found = compare_precisions(first, second, targets, max_loss=0.0)
    assert (found.n, found.errors_float, found.errors_int8) == (5, 2, 2)
    assert (found.lost, found.gained, found.loss) == (1, 1, 0)
    assert found.largest_change == pytest.approx(0.3)
    assert found.mean_change == pytest.approx((0.1 + 0.2 + 0 + 0.3 + 0) / 5)
    assert found.accepted


def test_the_loss_that_is_allowed_is_accepted_and_one_picture_more_is_not():
    assert gate(290, 287).accepted
    refused = gate(290, 286)
    assert not refused.accepted
    assert refused.sentence().endswith("refused above 1 point")
    assert "14 in int8 (4 lost, 0 gained): 1.33 points less accurate" in refused.sentence()
    assert gate(290, 286, max_loss=0.02).accepted
    assert not gate(290, 289, max_loss=0.0).accepted
    for n in range(1, 200):  # the bound is met exactly, whatever the rounding of the share
        assert gate(n, n - 1, n, max_loss=1 / n - (n == 1) * 1e-12).accepted


def test_a_sentence_claims_no_more_than_the_pictures_show():
    few = gate(20, 20, 20).sentence()
    assert "no difference is shown (McNemar p = 1)" in few
    assert "do not rule out more" in few
    many = gate(2900, 2900, 3000).sentence()
    assert many.endswith("accepted up to 1 point")
    assert "int8 is worse (McNemar p = 0.031)" in gate(290, 284).sentence()
    better = gate(284, 290).sentence()
    assert "2.00 points more accurate" in better
    assert "int8 is better" in better
    assert "accepted up to 2 points" in gate(20, 20, 20, max_loss=0.02).sentence()


def test_verdicts_are_counted_only_where_there_is_a_rule():
    n = 10
    p = answers(10, n)
    before, after = np.zeros(n), np.zeros(n)
    before[0], after[:4] = 5, 5
    found = compare_precisions(
        p, answers(10, n, 0.7), np.zeros(n, int),
        float_novelty=before, int8_novelty=after, strange_from=2.0, sure_from=0.8,
    ).verdicts  # fmt: skip
    assert (found.strange_float, found.strange_int8, found.newly_strange) == (1, 4, 3)
    assert (found.sure_float, found.sure_int8) == (9, 0)
    assert gate(10, 10, 10).verdicts.newly_strange is None
    only_sure = gate(10, 10, 10, sure_from=0.8).verdicts
    assert (only_sure.sure_float, only_sure.strange_float) == (10, None)
    told = compare_precisions(
        p, p, np.zeros(n, int), float_novelty=before, int8_novelty=after, strange_from=2.0
    )
    assert "of those known before 3 are now called none of these" in told.sentence()


def test_json_holds_every_figure():
    values = json.loads(json.dumps(gate(290, 288, sure_from=0.5).to_json()))
    assert values["n"] == 300
    assert (values["errors_float32"], values["errors_int8"]) == (10, 12)
    assert values["loss_low"] < values["loss"] < values["loss_high"]
    assert values["accepted"] is True
    assert values["sure_int8"] == 300


@pytest.mark.parametrize(
    ("lost", "gained", "n", "low", "high"),
    [
        (1, 7, 21, -0.517, -0.026),  # Fagerland et al. 2014, table V: airway hyper-responsiveness
        (0, 0, 300, -0.01264, 0.01264),  # z² / (n + z²), as Wilson's for no success
        (0, 0, 1, -0.793, 0.793),
    ],
)
def test_published_intervals(lost, gained, n, low, high):
    assert loss_interval(lost, gained, n) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 500))
def test_intervals_hold_the_loss_and_turn_with_it(lost, gained, same):
    n = max(1, lost + gained + same)
    low, high = loss_interval(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert high - low > 1 / (n + 4)
    assert loss_interval(gained, lost, n) == pytest.approx((-high, -low))


def test_intervals_cover_what_they_should():
    random = np.random.default_rng(0)
    for n, lose, gain in ((300, 0.02, 0.005), (100, 0.03, 0.03), (300, 0.01, 0.0)):
        draws = random.multinomial(n, [lose, gain, 1 - lose - gain], 600)
        known = {}
        for b, c, _ in draws.tolist():
            known.setdefault((b, c), loss_interval(b, c, n))
        held = [known[b, c][0] <= lose - gain <= known[b, c][1] for b, c in draws[:, :2].tolist()]
        assert np.mean(held) > 0.92


@pytest.mark.parametrize(
    "change",
    [
        {"int8_probabilities": np.ones((3, 3))},
        {"targets": np.zeros(4, int)},
        {"targets": np.array([0, 1, 2])},
        {"targets": np.array([0, 1, -1])},
        {"int8_probabilities": np.full((3, 2), np.nan)},
        {"max_loss": 1.0},
        {"max_loss": -0.1},
        {"strange_from": 2.0},
        {"strange_from": 2.0, "float_novelty": np.zeros(3), "int8_novelty": np.zeros(2)},
        {
            "float_probabilities": np.ones((0, 2)),
            "int8_probabilities": np.ones((0, 2)),
            "targets": np.zeros(0, int),
        },
    ],
)
def test_what_does_not_fit_together(change):
    fitting = {
        "float_probabilities": np.full((3, 2), 0.5),
        "int8_probabilities": np.full((3, 2), 0.5),
        "targets": np.array([0, 1, 1]),
        "max_loss": 0.01,
    }
    compare_precisions(**fitting)
    with pytest.raises(ValueError, match=r"expected|probabilities|probability"):
        compare_precisions(**{**fitting, **change})
