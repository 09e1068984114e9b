"""What schemathesis makes of the description of a running server: nothing to find."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_export import made_export
from serve_process import ServeProcess
from serving import TOKEN

pytestmark = pytest.mark.slow

EXAMPLES = 200
CONFIG = """
# No schema can say that bytes are a picture: 415 and 422 say that they are none.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 415, 422]

# Too many files.
[checks.negative_data_rejection]
expected-statuses = [400, 413, 415, 422]
"""


def schemathesis():
    """The command, beside this interpreter or where TELLAPART_SCHEMATHESIS says."""
    found = os.environ.get("TELLAPART_SCHEMATHESIS") or shutil.which(
        "schemathesis", path=str(Path(sys.executable).parent)
    )
    if found is None:
        pytest.skip(
            "needs schemathesis: pip install schemathesis, or TELLAPART_SCHEMATHESIS=its command"
        )
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
def test_schemathesis_finds_nothing(tmp_path, token):
    command = schemathesis()
    model = made_export(tmp_path / "colours.onnx")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    environment = {} if token is None else {"TELLAPART_TOKEN": token}
    with ServeProcess(model, "--quiet", environment=environment) as server:
        more = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
        done = subprocess.run(
            [command, "run", f"{server.url}openapi.json", "--checks", "all", "--max-examples",
             str(EXAMPLES), "--seed", "1", "--phases", "examples,coverage,fuzzing", "--no-color",
             "--request-timeout", "30", *more],
            capture_output=True, text=True, cwd=tmp_path, timeout=900,
        )  # fmt: skip
        sys.stdout.write(done.stdout[-6000:])
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        server.signal()
        assert server.end()[0] == 0
