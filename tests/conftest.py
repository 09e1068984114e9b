"""What all tests share: a cache of their own, examples that never change, and pictures to write."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

hypothesis.settings.register_profile(
    "tellapart", deadline=None, derandomize=True, database=None, max_examples=100
)
hypothesis.settings.load_profile("tellapart")

_CACHE = pytest.StashKey[Path]()

WritePicture = Callable[..., Path]


def pytest_configure(config: pytest.Config) -> None:
    """Doctests below src/ have no conftest of their own, so this is no fixture. Workers of xdist
    inherit the environment and share the folder."""
    if not hasattr(config, "workerinput"):
        config.stash[_CACHE] = Path(tempfile.mkdtemp(prefix="tellapart-tests-"))
        os.environ["TELLAPART_CACHE"] = str(config.stash[_CACHE])


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(_CACHE, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def write_picture() -> WritePicture:
    """`write_picture(path, size=(32, 24), seed=None, format="PNG")` draws a picture and gives its
    path. Equal seeds give equal bytes; without a seed every picture of a test differs."""
    count = 0

    def write(
        path: Path,
        size: tuple[int, int] = (32, 24),
        seed: int | None = None,
        format: str = "PNG",
    ) -> Path:
        nonlocal count
        count += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(1_000_000 + count if seed is None else seed)
        small = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        with path.open("wb") as file:
            picture.save(file, format)
        return path

    return write


@pytest.fixture
def loopback_is_public(monkeypatch):
    """For gathering in this process: 127.0.0.1 alone counts as public."""
    from tellapart.data.gather import addresses

    refusal = addresses.refusal
    monkeypatch.setattr(addresses, "refusal", lambda a: "" if a == "127.0.0.1" else refusal(a))


@pytest.fixture
def get(loopback_is_public, monkeypatch, tmp_path):
    """`get(urls, into=tmp_path / "data", label="cat", **options)` gathers with short waits before
    retries, and gives the receipt's rows by URL."""
    from tellapart import gather
    from tellapart.data.gather import session

    monkeypatch.setattr(session, "_BACKOFF", 0.01)

    def ask(urls, into=None, label="cat", **options):
        options = {"timeout": 5.0, "min_side": 16, **options}
        gathered = gather({label: list(urls)}, into or tmp_path / "data", **options)
        return {row.url: row for row in gathered.receipt.rows}

    return ask
