"""One small run on drawn pictures, trained once, and a page of it."""

import shutil
from pathlib import Path

import pytest

import tellapart
from tellapart.training.run import Run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """Pictures of five classes, a quarter for validation, copies and wrong labels among them."""
    root = tmp_path_factory.mktemp("reported") / "drawn"
    tellapart.draw_gallery(root, per_class=10, valid=0.25, seed=5, faults=True)
    return root


@pytest.fixture(scope="session")
def run(tmp_path_factory, drawn) -> Run:
    return tellapart.train(drawn, tmp_path_factory.mktemp("runs") / "drawn")


@pytest.fixture
def own_run(run, drawn, tmp_path) -> Run:
    """The same run with pictures of its own, which a test may take away."""
    import json

    pictures = tmp_path / "pictures"
    shutil.copytree(drawn, pictures)
    shutil.copytree(run.folder, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["dataset"]["root"] = str(pictures)
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    return Run.load(tmp_path / "run")
