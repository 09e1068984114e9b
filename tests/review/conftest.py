"""A few pictures that are embedded once, and a review of them."""

import pytest
from few_photos import draw_photos

from tellapart.audit.opened import open_subject
from tellapart.data.dataset import Dataset
from tellapart.review.journal import Journal
from tellapart.review.review import Review


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """The folder; not to be changed."""
    return draw_photos(tmp_path_factory.mktemp("reviewed") / "photos")


@pytest.fixture(scope="session")
def subject(photos):
    return open_subject(Dataset.from_folder(photos), workers=1).subject


@pytest.fixture
def journal(tmp_path, photos):
    with Journal(tmp_path / "review.sqlite", root=photos, classes=("blue", "red")) as opened:
        yield opened


@pytest.fixture
def review(subject, journal):
    """A review with an empty journal."""
    with Review(subject, journal, "photos") as opened:
        yield opened
