"""The page: valid, whole in itself, escaped, bounded, and right in what it says."""

import itertools
import json
import re
import shutil

import html5lib
import pytest

import tellapart
from reporting.made_runs import HOSTILE, as_stage, made_run
from tellapart.errors import UsageError
from tellapart.reporting.report import report

XHTML = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    return report(run, tmp_path_factory.mktemp("pages") / "page.html", workers=1)


def parsed(page: str):
    """The tree of a page; raises where a browser would have to guess."""
    return html5lib.HTMLParser(strict=True).parse(page)


def every(tree, *names):
    return [node for name in names for node in tree.iter(XHTML + name)]


def said(node) -> str:
    return " ".join("".join(node.itertext()).split())


def check_page(page: str) -> None:
    """What holds for each page, whatever stands in it."""
    tree = parsed(page)
    assert len(page.encode()) < 5_000_000
    assert not every(tree, "script", "iframe", "object", "embed", "form")
    for node in tree.iter():
        for name, value in node.attrib.items():
            assert not str(name).lower().startswith("on"), (node.tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                assert value.startswith(("data:image/", "#")), (node.tag, name, value[:50])
    assert not re.search(r"url\(|@import", page)
    (policy,) = [n for n in every(tree, "meta") if n.get("http-equiv")]
    assert policy.get("content") == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    check_structure(tree)


def check_structure(tree) -> None:
    levels = [int(n.tag[-1]) for n in tree.iter() if re.fullmatch(rf"{XHTML}h[1-6]", str(n.tag))]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert [len(every(tree, name)) for name in ("header", "main", "nav", "footer")] == [1, 1, 1, 1]
    assert all(node.get("alt") for node in every(tree, "img"))
    assert all(node.get("scope") for node in every(tree, "th"))
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    targets = {node.get("href")[1:] for node in every(tree, "a")}
    assert targets <= set(ids)
    for drawing in tree.iter("{http://www.w3.org/2000/svg}svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.get("aria-label"), drawing.attrib


def test_the_page_is_sound(made):
    page = made.file.read_text("utf-8")
    assert page == made.to_html()
    check_page(page)


def test_it_says_what_the_run_is_worth(run, made):
    tree = parsed(made.to_html())
    words = said(tree)
    metrics = run.metrics["valid"]
    low, high = metrics.interval
    assert f"{metrics.n - metrics.errors} of {metrics.n} validation pictures" in words
    assert f"95 % interval: {100 * low:.1f}–{100 * high:.1f} %" in words
    for heading in (
        "Class by class",
        "What it confuses",
        "When to believe it",
        "How to do it again",
    ):
        assert heading in [said(node) for node in every(tree, "h2")]
    for name in run.classes:
        assert name in words
    assert run.info["dataset"]["fingerprint"] in words
    assert f"tellapart train {run.info['dataset']['root']} --out {run.folder}" in words
    assert "nobody has said under which terms" in words


def test_the_hundred_stand_for_the_interval(made):
    low, high = made.verdict.main.metrics.interval
    accuracy = made.verdict.main.metrics.accuracy
    tree = parsed(made.to_html())
    kinds = [n.get("class") for n in tree.iter("{http://www.w3.org/2000/svg}circle")][:100]
    assert kinds.count("surely") == int(100 * low)
    assert kinds.count("surely") + kinds.count("probably") == round(100 * accuracy)
    assert 0 <= 100 - kinds.count("wrong") - 100 * high < 1


def test_the_matrix_is_that_of_all_answers(made):
    (table,) = [n for n in every(parsed(made.to_html()), "table") if n.get("class") == "matrix"]
    cells = [int(said(node)) for node in table.iter(XHTML + "td")]
    assert cells == made.answers.confusion_matrix().ravel().tolist()


def test_confusions_come_with_pictures_and_maps(made):
    pairs = made.examples.pairs
    assert [(p.actual, p.predicted, p.n) for p in pairs] == made.answers.most_confused()[:4]
    for pair in pairs:
        assert 1 <= len(pair.examples) <= 4
        for example in pair.examples:
            assert (example.label, example.predicted) == (pair.actual, pair.predicted)
            assert example.picture.startswith("data:image/jpeg")
            assert example.map.startswith("data:image/jpeg")
    assert all(example.right for example in made.examples.right)
    assert {example.label for example in made.examples.right} == set(made.run.classes)


def test_findings_of_the_check_are_in_it(made):
    words = said(parsed(made.to_html()))
    for name in ("exact_duplicate", "leak"):
        assert made.audit.of(name), "planted"
    assert f"Leaks: {len(made.audit.of('leak'))}" in words
    assert any(
        "have a copy among those it learned from" in c.sentence for c in made.verdict.cautions
    )
    assert "Would more pictures help?" in words


def test_without_the_check(run, tmp_path):
    found = report(run, tmp_path / "quick.html", check=False, workers=1)
    assert found.audit is None
    check_page(found.to_html())
    assert "What the check found" not in found.to_html()


def test_a_stage(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    stage = as_stage(tellapart.Run.load(tmp_path / "run"))
    found = report(stage, check=True, workers=1)
    page = found.to_html()
    check_page(page)
    words = said(parsed(page))
    assert "was trained on for 2 epochs" in words
    assert "no threshold was fitted" in words
    assert "Loss by epoch" in words
    assert (
        "--unfreeze last --batch 16 --accumulate 2 --from stage-1 --name stage-2 --no-flip" in words
    )
    assert "--lr" not in words, "1e-05..0.0001 is what it would be anyway"
    assert found.examples.refusal == "", "its own network was opened"
    assert "looks as it was before fine-tuning" in words


def test_a_stage_is_checked_by_the_network_that_has_not_learned_the_labels(
    run, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "tellapart.reporting.report.check_data", lambda data, run, **_: asked.append(run) or None
    )
    shutil.copytree(run.folder, tmp_path / "run")
    stage = as_stage(tellapart.Run.load(tmp_path / "run"))
    report(stage, workers=1)
    assert asked[0].folder == tmp_path / "run"
    (tmp_path / "run" / "run.json").unlink()
    report(stage, workers=1)
    assert asked[1] is None, "the default network, where the run is gone"


def test_a_run_in_epochs(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    fields = "epoch,train_loss,valid_loss,errors,n,seconds,lr\n"
    (tmp_path / "run" / "history.csv").write_text(
        fields + "0,1.5,1.25,5,10,0.5,0.1\n1,0.5,nan,4,10,0.5,0.1\n"
    )
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["probe"] |= {
        "recipe": "one-cycle",
        "epochs": 2,
        "head": "hidden",
        "lr": "2e-3",
        "views": 1,
    }
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    page = report(tellapart.Run.load(tmp_path / "run"), check=False, workers=1).to_html()
    check_page(page)
    words = said(parsed(page))
    assert "a hidden head on what it sees was trained for 2 epochs" in words
    assert "4 of 10" in words, "one finite row is no chart, but it stands in a table"


def test_hostile_names_and_fifty_classes(tmp_path):
    classes = [
        HOSTILE,
        "a\nb</style><script>alert(1)</script>",
        "{{ 7 * 7 }}",
        "\udcff",
        "x" * 250,
        "漢字",
    ]
    run = made_run(tmp_path / "run", [*classes, *(f"class {i}" for i in range(44))], wrong=0.4)
    found = report(run, check=False, workers=1)
    page = found.to_html()
    check_page(page)
    assert "onerror=alert" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    assert ">49<" not in page
    assert "Which of 50 classes?" in said(parsed(page))
    found.save(tmp_path / "page.html")


def test_large_runs_stay_below_five_megabytes(tmp_path):
    """Noise is the worst case for thumbnails, and long names for everything else."""
    classes = [f"{i:04} {'long name ' * 20}" for i in range(300)]
    run = made_run(
        tmp_path / "run",
        classes,
        per_class=4,
        wrong=0.5,
        noise=True,
        preprocess={"size": 320, "fit": "squish"},
    )
    page = report(run, check=False, workers=2).to_html()
    check_page(page)
    assert len(page.encode()) > 400_000, "there is something in it"
    assert "The 200 weakest of 300 classes" in said(parsed(page))


def test_pictures_that_are_gone(own_run, tmp_path):
    shutil.rmtree(tmp_path / "pictures")
    found = report(own_run, workers=1)
    check_page(found.to_html())
    assert found.failures
    assert found.audit is None
    words = said(parsed(found.to_html()))
    assert "is not there any more" in words
    assert "The picture cannot be read" in words
    assert f"{found.answers.metrics.errors} of {len(found.answers)} answers" in words


def test_one_picture_that_is_gone_or_has_changed(own_run, tmp_path):
    root = tmp_path / "pictures"
    gone, changed = own_run.predictions()[0][0], own_run.predictions()[1][0]
    (root / gone).unlink()
    shutil.copy(root / own_run.predictions()[-1][0], root / changed)
    found = report(own_run, workers=1)
    assert [failure.path for failure in found.failures] == [gone]
    assert any(
        f"1 pictures have changed since the run was trained, {changed}" in n for n in found.notes
    )


@pytest.mark.parametrize("name", ["run.json", "page.txt", "predictions.csv"])
def test_only_pages_are_written(run, name):
    before = (run.folder / "run.json").read_bytes()
    with pytest.raises(UsageError, match=r"ends in \.html"):
        report(run, run.folder / name)
    assert (run.folder / "run.json").read_bytes() == before


def test_a_folder_or_a_place_without_leave_is_said_at_once(run, tmp_path):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        report(run, tmp_path / "folder.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no folder that you may write to"):
        report(run, tmp_path / "file" / "page.html")


def test_it_is_shown_in_notebooks_in_a_frame(made):
    shown = made._repr_html_()
    assert shown.startswith("<iframe")
    assert 'sandbox=""' in shown
    assert shown.count("<") == 2, "the page is escaped"
    assert json.loads(json.dumps(made.to_json()))["verdict"]["n"] == made.verdict.main.metrics.n
