"""Parts of a job on a real cluster whose workers and nodes die."""

import pytest


@pytest.mark.slow
def test_each_part_is_done_once_though_a_worker_and_a_node_die(in_cluster):
    told = in_cluster("jobs/map_parts_job.py")
    assert told["cpus"] == 2
    assert told["worker"]
    assert told["names"] == [ascii("\udcff.jpg")]
    assert told["squares"] == [number**2 + 100 for number in range(60)]
    assert told["error"] == "the disk is full. Make room."
