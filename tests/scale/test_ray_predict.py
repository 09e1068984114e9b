"""Predict on a real cluster: the same rows as this machine gives, whatever dies in between."""

from pathlib import Path

import pytest

import tellapart
from ship.made_export import made_export


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_one_row_per_picture_whatever_dies(in_cluster, tmp_path, write_picture):
    model = made_export(tmp_path / "model.onnx")
    for number in range(7):
        write_picture(tmp_path / "small" / f"{number}.png", (40, 30), seed=number)
        write_picture(tmp_path / "large" / f"{number}.png", (900, 700), seed=number)
    write_picture(tmp_path / "small" / "é.png")
    names = [f"large/{i % 7}.png" if i % 100 else f"gone{i}.png" for i in range(1210)]
    (tmp_path / "table.csv").write_text("".join(f"{line}\n" for line in ["path", *names]))
    told = in_cluster("jobs/predict_job.py", model, tmp_path / "table.csv", timeout=900)
    assert told["local"] == [1210, 13, 61]
    assert told["printed"] == [3, 3, 302]
    assert told["said"] == "1 of 302 pictures could not be used."
    assert told["same_lines"]
    assert told["same_answers"]
    for name, status in (("killed", -9), ("interrupted", 130)):
        assert told[name]["status"] == status, told[name]
        assert 12 <= told[name]["before"] < 61, told[name]
        assert told[name]["kept"] >= 20 * told[name]["before"]
        assert told[name]["rows"] == 1210
        assert told[name]["same"]
        assert told[name]["asides"] == []
    assert "the same command goes on" in told["interrupted"]["said"]
    assert "is not the same folder" in told["elsewhere"]
    assert told["harmed"] == {"worker": True, "rows": 1210, "failed": 13, "same": True}


PICTURES = Path(__file__).parents[3] / "shared" / "data" / "art_style"


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.skipif(not PICTURES.is_dir(), reason="needs ../shared/data/art_style")
def test_real_pictures_get_the_same_answers(in_cluster, tmp_path):
    for split, most in (("training_set", 40), ("test_set", 15)):
        for folder in sorted((PICTURES / split).iterdir()):
            (tmp_path / "art" / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:most]:
                (tmp_path / "art" / split / folder.name / file.name).symlink_to(file)
    run = tellapart.train(tmp_path / "art", tmp_path / "run")
    tellapart.export(run.folder, tmp_path / "model.onnx")
    models = [tmp_path / "run", tmp_path / "model.onnx"]
    told = in_cluster(
        "jobs/predict_same_job.py", *models, tmp_path / "art" / "test_set", timeout=900
    )
    for model in models:
        assert told[str(model)][:2] == [60, True]
        assert told[str(model)][2] <= 1e-6
        here, there = (
            sorted(tmp_path.glob(f"{model.name}-{side}/part-*")) for side in ("here", "there")
        )
        assert [file.read_bytes() for file in there] == [file.read_bytes() for file in here]
        assert len(list(tmp_path.glob(f"{model.name}-table/part-*.parquet"))) == 4
