"""What a run answers, held against scikit-learn and against numbers worked out by hand."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as reference

from reporting.made_runs import HOSTILE, made_run
from tellapart.errors import UsageError
from tellapart.evaluation.metrics import Metrics, evaluate, wilson_interval
from tellapart.reporting.classification_report import classification_report
from tellapart.reporting.confusion_plot import plot_confusion
from tellapart.reporting.embedding_map import embedding_map
from tellapart.reporting.interpretation import Interpretation


@pytest.fixture(scope="module")
def answers(run):
    return Interpretation.from_run(run)


def by_hand():
    """Three classes, six pictures; the fourth and the last are wrong."""
    p = np.float32(
        [
            [0.7, 0.2, 0.1],
            [0.6, 0.3, 0.1],
            [0.1, 0.8, 0.1],
            [0.5, 0.4, 0.1],
            [0, 0.1, 0.9],
            [0.8, 0, 0.2],
        ]
    )
    targets = np.array([0, 0, 1, 1, 2, 2])
    paths = tuple("abcdef")
    return Interpretation(("x", "y", "z"), paths, None, ("valid",) * 6, targets, p)


@pytest.mark.parametrize(("split", "name"), [("valid", "valid"), ("train", "out_of_fold")])
def test_the_figures_are_those_of_the_run(run, split, name):
    found = Interpretation.from_run(run, split).metrics
    np.testing.assert_array_equal(found.matrix, run.metrics[name].matrix)
    assert found.log_loss == pytest.approx(run.metrics[name].log_loss, abs=1e-6)


def test_all_rows_together(run, answers):
    assert len(answers) == len(run.predictions())
    assert set(answers.splits) == {"train", "valid"}
    assert answers.probabilities.dtype == np.float32
    assert answers.metrics.n == run.metrics["valid"].n + run.metrics["out_of_fold"].n
    assert f"{run.metrics['out_of_fold'].n} train, out of fold" in repr(answers)


def test_losses():
    found = by_hand()
    np.testing.assert_allclose(found.losses, -np.log([0.7, 0.6, 0.8, 0.4, 0.9, 0.2]), rtol=1e-6)
    losses, rows = found.top_losses(2)
    assert rows.tolist() == [5, 3]
    np.testing.assert_allclose(losses, -np.log([0.2, 0.4]), rtol=1e-6)
    assert found.top_losses(1, largest=False)[1].tolist() == [4]
    assert len(found.top_losses()[0]) == 6


def test_confusions():
    found = by_hand()
    assert found.confusion_matrix().tolist() == [[2, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert found.most_confused() == [("y", "x", 1), ("z", "x", 1)]
    assert found.most_confused(min_val=2) == []


def test_against_scikit_learn():
    generator = np.random.default_rng(4)
    p = generator.dirichlet(np.ones(5), 300).astype(np.float32)
    targets = generator.integers(0, 4, 300)  # the last class has no picture
    found = Interpretation(tuple("abcde"), ("",) * 300, None, ("test",) * 300, targets, p)
    predicted = p.argmax(axis=1)
    np.testing.assert_array_equal(
        found.confusion_matrix(), reference.confusion_matrix(targets, predicted, labels=range(5))
    )
    told = found.classification_report()
    wanted = reference.classification_report(
        targets,
        predicted,
        labels=range(4),
        target_names=list("abcd"),
        output_dict=True,
        zero_division=0,
    )
    for row in told.rows[:4]:
        own = wanted[row.name]
        shares = (row.precision.value, row.recall.value, row.f1.value, row.n)
        assert shares == pytest.approx(
            (own["precision"], own["recall"], own["f1-score"], own["support"])
        )
    mean = wanted["macro avg"]
    assert told.macro == pytest.approx((mean["precision"], mean["recall"], mean["f1-score"]))
    assert told.accuracy.value == pytest.approx(reference.accuracy_score(targets, predicted))
    np.testing.assert_allclose(
        found.losses.mean(), reference.log_loss(targets, p, labels=range(5)), rtol=1e-5
    )


def test_the_interval_of_f1_is_one_of_95_percent():
    """A class of 40 % of the pictures, recognised with 80 %, of which 10 % of the others are taken for it."""
    generator = np.random.default_rng(0)
    hit, false = 0.4 * 0.8, 0.6 * 0.1
    true_f1 = 2 * hit / (0.4 + hit + false)
    inside = 0
    for _ in range(400):
        n = generator.multinomial(80, [hit, 0.4 - hit, false, 0.6 - false])
        matrix = np.array([[n[0], n[1]], [n[2], n[3]]])
        f1 = classification_report(Metrics(("a", "b"), matrix, 0.0)).rows[0].f1
        assert f1.low <= f1.value <= f1.high
        inside += f1.low <= true_f1 <= f1.high
    assert wilson_interval(inside, 400)[0] <= 0.95 <= wilson_interval(inside, 400)[1]


def test_a_report_of_nothing_recognised():
    told = classification_report(
        Metrics(("a", "b", "c"), np.array([[0, 2, 0], [0, 0, 0], [0, 0, 0]]), 9.0)
    )
    a, b, c = told.rows
    assert (a.recall.value, a.precision.value, a.f1.value) == (0.0, None, 0.0)
    assert b.recall.value is None
    assert c.f1.value is None
    assert "–" in str(told)
    assert told.macro == (0.0, 0.0, 0.0)


def test_what_is_refused(run):
    with pytest.raises(UsageError, match="has no answers of split 'test'; it has train, valid"):
        Interpretation.from_run(run, "test")
    with pytest.raises(UsageError, match="choose from all, valid"):
        Interpretation.from_run(run, "validation")
    with pytest.raises(UsageError, match="1 to 100"):
        by_hand().plot_top_losses(0)
    with pytest.raises(UsageError, match="from_run"):
        by_hand().embedding_map()


def test_a_stage_says_which_rows_it_has(tmp_path):
    stage = as_stage_of(tmp_path)
    found = Interpretation.from_learner(SimpleNamespace(stage=stage))
    assert set(found.splits) == {"valid"}
    assert "out of fold" not in repr(found)
    with pytest.raises(UsageError, match="it has valid"):
        Interpretation.from_run(stage, "train")


def as_stage_of(tmp_path):
    """A stage's folder without a network, which these tests do not need."""
    run = made_run(tmp_path / "run", ["a", "b"], pictures=False)
    keep = [row for row in run.predictions() if row[1] == "valid"]
    lines = ["path,split,label,predicted,p_a,p_b", *(",".join(row) for row in keep)]
    (run.folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    return run


def test_shown_in_notebooks_without_harm(tmp_path):
    run = made_run(tmp_path / "run", [HOSTILE, "b"], pictures=False, wrong=0.6)
    found = Interpretation.from_run(run)
    for page in (found._repr_html_(), found.classification_report()._repr_html_()):
        assert "<img" not in page
        assert "&lt;img" in page


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.findobj(match=is_text)]


def is_text(artist):
    from matplotlib.text import Text

    return isinstance(artist, Text)


def test_the_matrix_shows_its_numbers():
    shown = texts(by_hand().plot_confusion_matrix())
    assert sorted(text for text in shown if text.isdigit()) == ["1", "1", "1", "1", "2"]
    assert "2 of 6 wrong" in shown
    assert "50 %" in texts(by_hand().plot_confusion_matrix(normalize=True))


def test_a_thousand_classes_can_be_drawn():
    classes = tuple(f"class {i:03}" for i in range(1000))
    matrix = 3 * np.eye(1000, dtype=np.intp)
    matrix[17, 803] = 9
    figure = plot_confusion(Metrics(classes, matrix, 0.1))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert 20 <= len(labels) <= 50
    assert labels[:2] == ["class 000", "class 020"]
    assert not any(text.isdigit() for text in texts(figure))
    assert any("9× class 017 → class 803" in text for text in texts(figure))
    (dots,) = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[803, 17]]
    assert figure._repr_png_()[:4] == b"\x89PNG"


def test_names_that_no_font_knows_are_drawn_without_a_warning():
    classes = ("$\\frac{", "漢字", "\udcff\n", HOSTILE)
    figure = plot_confusion(Metrics(classes, np.ones((4, 4), np.intp), 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure._repr_png_()
    assert "$\\frac{" in texts(figure)


def test_top_losses_are_drawn_with_what_spoke_for_them(answers):
    figure = answers.plot_top_losses(4, workers=1)
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 4
    height, width = pictures[0].images[0].get_array().shape[:2]
    assert width > 2 * height, "the picture and its heat map, beside each other"
    losses, rows = answers.top_losses(4)
    for axes, loss, row in zip(pictures, losses, rows, strict=True):
        title = axes.get_title(loc="left")
        predicted, actual = (
            answers.classes[answers.predicted[row]],
            answers.classes[answers.targets[row]],
        )
        assert title.startswith(f"{predicted} / {actual}\n{loss:.2f} / ")


def test_top_losses_without_a_network_or_pictures(tmp_path):
    run = made_run(tmp_path / "run", ["a", "b"], wrong=0.5)
    figure = Interpretation.from_run(run).plot_top_losses(3, workers=1)
    assert len([axes for axes in figure.axes if axes.images]) == 3
    assert any("No heat maps" in text.get_text() for text in figure.texts)
    gone = made_run(tmp_path / "gone", ["a", "b"], pictures=False)
    figure = Interpretation.from_run(gone).plot_top_losses(3, heatmap=False, workers=1)
    assert not any(axes.images for axes in figure.axes)
    assert len([text for text in texts(figure) if "no such file" in text or text == "missing"]) == 3


def test_reliability_and_risk_are_drawn_from_the_same_numbers(answers):
    found = answers.reliability()
    assert found.n == len(answers)
    (axes,) = answers.plot_reliability().axes
    drawn = axes.containers[-1].lines[0].get_xydata()
    np.testing.assert_allclose(drawn, [(b.confidence, b.accuracy) for b in found.bins])
    assert len(axes.containers) == 2, "before the temperature too"
    curve = answers.risk_coverage()
    (axes,) = answers.plot_risk_coverage().axes
    x, y = axes.lines[0].get_xydata()[-1]
    assert x == 100
    assert y == pytest.approx(100 * answers.metrics.errors / len(answers))
    assert curve.errors[-1] == answers.metrics.errors


def test_the_map_of_what_the_network_sees(answers):
    found = answers.embedding_map(workers=1)
    assert found.coordinates.shape == (len(answers), 2)
    assert found.coordinates.dtype == np.float32
    assert 0 < found.shares[1] <= found.shares[0] < 1
    np.testing.assert_array_equal(found.wrong, answers.wrong)
    figure = found.plot()
    dots = figure.axes[0].collections
    assert sum(len(part.get_offsets()) for part in dots[: len(answers.classes)]) == len(answers)
    assert len(dots) == len(answers.classes) + bool(answers.wrong.any())
    assert found._repr_png_()[:4] == b"\x89PNG"


def test_its_directions_are_those_of_a_principal_component_analysis():
    from sklearn.decomposition import PCA

    generator = np.random.default_rng(1)
    x = generator.normal(size=(300, 12)) * np.linspace(5, 1, 12) @ generator.normal(size=(12, 12))
    features = x.astype(np.float32)
    rows = np.arange(300)
    found = embedding_map(features, rows % 3, rows < 9, rows, ("a", "b", "c"), 300, workers=1)
    reference_map = PCA(2).fit((features - features.mean(0)) / features.std(0))
    assert found.shares == pytest.approx(reference_map.explained_variance_ratio_, rel=0.02)


def test_evaluate_agrees_on_the_smallest_probability(tmp_path):
    """predictions.csv rounds to eight decimals; a zero there is no infinite loss."""
    run = made_run(tmp_path / "run", ["a", "b"], pictures=False)
    rows = run.predictions()
    rows[0][4:] = (
        ["0.00000000", "1.00000000"] if rows[0][2] == "a" else ["1.00000000", "0.00000000"]
    )
    lines = [
        "path,split,label,predicted,p_a,p_b",
        *(",".join(f'"{cell}"' for cell in row) for row in rows),
    ]
    (run.folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    found = Interpretation.from_run(run)
    assert found.losses.max() == pytest.approx(-np.log(5e-9))
    assert evaluate(found.probabilities, found.targets, "ab").log_loss == pytest.approx(
        found.losses.mean()
    )
