"""Pictures in a bucket, read by two nodes from a server that fails."""

import pytest

pytestmark = pytest.mark.slow


def test_two_nodes_read_from_a_server_that_fails(in_cluster, gallery, tmp_path):
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    told = in_cluster(
        "jobs/s3_job.py", gallery, "503,slow,cut",
        TELLAPART_CACHE=str(tmp_path / "nodes"), AWS_ENDPOINT_URL="http://127.0.0.1:9009",
        AWS_ACCESS_KEY_ID="KEYKEYKEY12345", AWS_SECRET_ACCESS_KEY="SECRETSECRET98765",
        AWS_DEFAULT_REGION="us-east-1", TELLAPART_READ_TIMEOUT="1",
    )  # fmt: skip
    count = told["computed"][0]
    planted = told["planted"]
    assert min(planted.values()) >= count
    assert set(planted) == {"503", "slow", "cut"}
    total = sum(planted.values())
    assert any(note.startswith(f"{total:,} reads were tried again: ") for note in told["notes"]), (
        told
    )
    assert told["asked"] == [
        4
    ]  # three faults and the picture, though it is hashed and then decoded
    assert told["asked again"] == 0  # its shard is there, and the server says that it is the same
    assert told["computed"] == [count, count, 0]
    assert told["metrics"][0] == told["metrics"][1]
    assert told["predictions"][0] == told["predictions"][1]
    assert told["secrets"] == []
    assert told["root"] == "s3://art/"
