"""The probes of cross-validation, fitted again: they answer as those of the run did."""

import numpy as np
import pytest

from tellapart import TrainOptions, draw_gallery, train
from tellapart.training.left_out import left_out_probes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left-out")
    draw_gallery(folder / "art", per_class=20, seed=4)
    return train(folder / "art", folder / "run", TrainOptions(backbone="tf_efficientnet_lite0"))


def test_they_give_the_answers_that_the_run_has_kept(run):
    from tellapart.reporting.heat_maps import Explainer

    rows = [row for row in run.predictions() if row[1] == "train"]
    probes = left_out_probes(run, [row[0] for row in rows])
    assert set(probes) == {row[0] for row in rows}
    assert 2 <= len({id(probe) for probe in probes.values()}) <= 5
    explainer = Explainer(run)
    root = run.info["dataset"]["root"]
    for row in rows[::9]:
        heat = explainer.explain(f"{root}/{row[0]}", None, probes[row[0]])
        np.testing.assert_allclose(heat.probabilities, np.float32(row[4:]), atol=0.08)
        assert abs(heat.values.sum(dtype=np.float64) + heat.rest - heat.logit) < 1e-4


def test_only_training_pictures_have_one(run):
    rows = run.predictions()
    held_out = [row[0] for row in rows if row[1] == "valid"]
    assert left_out_probes(run, held_out) == {}
    one = next(row[0] for row in rows if row[1] == "train")
    assert set(left_out_probes(run, [*held_out, one])) == {one}


def test_none_where_the_pictures_or_the_answers_are_others(run, tmp_path):
    """A run whose kept answers do not come of these folds: better no probe than another one."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    lines = (folder / "predictions.csv").read_text().splitlines()
    other = [
        line.replace(",drawings,", ",@,").replace(",sculpture,", ",drawings,") for line in lines
    ]
    text = "\n".join(line.replace(",@,", ",sculpture,") for line in other)
    (folder / "predictions.csv").write_text(text + "\n")
    changed = type(run).load(folder)
    one = next(row[0] for row in run.predictions() if row[1] == "train")
    assert left_out_probes(changed, [one]) == {}
