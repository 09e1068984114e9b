"""train and check on a cluster: the same answers as on one machine, whatever dies meanwhile."""

import pytest
from PIL import Image, ImageOps

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path, write_picture):
    folder = tmp_path / "pictures"
    for number in range(700):
        write_picture(folder / f"{number:04}.png", (160, 120))
    for number in range(0, 400, 20):
        with Image.open(folder / f"{number:04}.png") as picture:
            ImageOps.mirror(picture).save(folder / f"{number + 7:04}.png")
    (folder / "0300.png").write_bytes((folder / "0300.png").read_bytes()[:300])
    (folder / "é\udcff.png").write_bytes(b"no picture")
    return folder


def test_embedding_survives_a_worker_and_a_node(in_cluster, pictures, tmp_path):
    told = in_cluster("jobs/embed_job.py", pictures, TELLAPART_CACHE=str(tmp_path / "nodes"))
    assert told["worker"]
    assert 2 <= told["left"] < told["shards"]
    assert told["equal"] == [True, True]
    assert told["sha256"]
    assert told["failures"][0] == told["failures"][1]
    assert len(told["failures"][0]) == 2
    assert told["unfinished"] == []
    assert 1 <= told["fresh shards"] <= told["shards"]
    assert told["one more"] == [702, True]
    assert told["changed"] == [True, False]
    exact, indexed, indexes = told["copies"]
    assert indexes == 7
    assert len(exact) >= 20  # 19 mirrored ones, for one picture is broken, and one exact
    assert len([pair for pair in exact if pair in indexed]) >= 0.98 * len(exact)
    assert [pair for pair in indexed if pair not in exact] == []


def test_train_and_check_are_the_same_as_on_one_machine(in_cluster, gallery, tmp_path):
    told = in_cluster("jobs/verbs_job.py", gallery, TELLAPART_CACHE=str(tmp_path / "nodes"))
    assert all(told["files"].values())
    assert told["metrics"][0] == told["metrics"][1]
    assert told["findings"][0] == told["findings"][1]
    assert told["computed"][0] == told["computed"][1] > 0
    assert told["computed"][2] == 0


def test_an_interrupted_and_a_killed_job_keep_their_shards(in_cluster, pictures, tmp_path):
    for number, path in enumerate(sorted(pictures.glob("0*.png"))):
        label = pictures / ("odd" if number % 2 else "even")
        label.mkdir(exist_ok=True)
        path.rename(label / path.name)
    told = in_cluster("jobs/interrupt_job.py", pictures, TELLAPART_CACHE=str(tmp_path / "nodes"))
    status, shards, said, later = told["interrupted"]
    assert status == 130
    assert "Traceback" not in said
    assert later <= shards + 2  # what was in the middle may end
    assert told["killed"][0] == -9
    assert told["status"] == 3, told["said"]  # one picture is broken
    assert told["kept"]
    assert told["shards"] > told["killed"][3]
    assert "Embedding" in told["said"]
    assert sum(sum(counts.values()) for counts in told["run"].values()) == 699
