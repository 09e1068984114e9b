"""Indexes of shards that workers build, each by itself, and in which all are looked up."""

import pytest

pytest.importorskip("usearch")


@pytest.mark.slow
def test_a_cluster_finds_the_copies_that_one_process_does_though_a_worker_dies(
    in_cluster, tmp_path
):
    told = in_cluster("jobs/sharded_copies_job.py", tmp_path)
    assert told["killed"]
    assert told["same"]
    assert told["found"] >= 490  # of 500, none of them within a shard
    assert told["indexes"] == [f"main-{shard:05d}.usearch" for shard in range(10)]
