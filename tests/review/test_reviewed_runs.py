"""Reviews of runs: by which network, and where their tables may not go."""

import asyncio

import pytest

from tellapart import apply_decisions, clean, draw_gallery, train
from tellapart.errors import UsageError
from tellapart.review.review import Review
from tellapart.review.reviewed import find_reviewed


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """A gallery, its cleaned table after one decision, and a run on that table."""
    folder = tmp_path_factory.mktemp("rounds")
    draw_gallery(folder / "art", per_class=8, seed=1)
    journal = folder / "first.sqlite"
    with Review.open(folder / "art", journal=journal) as review:
        review.decide([{"id": 0, "action": "remove"}], who="ann")
    cleaned = apply_decisions(folder / "art", journal=journal)
    return folder, cleaned, train(cleaned.file, folder / "run")


def test_the_table_that_a_run_was_trained_on_is_not_written_over(rounds):
    folder, cleaned, run = rounds
    before = cleaned.file.read_bytes()
    with Review.open(run) as review:
        review.decide([{"id": 1, "action": "remove"}], who="ann")
    with pytest.raises(UsageError, match="is the data itself"):
        apply_decisions(run)
    assert cleaned.file.read_bytes() == before
    second = apply_decisions(run, folder / "second.csv")
    assert second.rows == cleaned.rows - 1


def test_tables_of_one_name_have_journals_of_their_own(tmp_path, write_picture):
    for place in ("one", "two"):
        for number, label in enumerate(("cat", "dog")):
            write_picture(tmp_path / place / f"{number}.png")
            with (tmp_path / place / "cleaned.csv").open("a") as file:
                file.write(("name,label\n" if not number else "") + f"{number}.png,{label}\n")
    one, two = (find_reviewed(tmp_path / place / "cleaned.csv") for place in ("one", "two"))
    assert one.journal != two.journal


def test_it_can_be_served_where_an_event_loop_runs(rounds, capsys):
    """As in a notebook; it prints its link, and ends when nobody asks."""
    folder, _, run = rounds

    async def cell():
        return clean(run, journal=folder / "cell.sqlite", browser=False, idle=0.01)

    assert asyncio.run(cell()).decisions == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
