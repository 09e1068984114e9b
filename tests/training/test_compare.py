"""Two runs by the same pictures, with answers that are planted."""

import pytest

from tellapart import compare
from tellapart.errors import UsageError
from tellapart.training.run import Run


def run_with(folder, answers, root="/pictures"):
    """A run folder of which only the predictions matter: `answers` are (path, split, actual, predicted)."""
    folder.mkdir()
    rows = ["path,split,label,predicted,a,b", *(",".join((*row, "0.5", "0.5")) for row in answers)]
    (folder / "predictions.csv").write_text("\n".join(rows) + "\n")
    return Run(folder, {"classes": ["a", "b"], "dataset": {"root": root}})


@pytest.fixture
def runs(tmp_path):
    """Six of ten valid pictures become right and none wrong; the one test picture becomes wrong."""
    valid = [f"{number}.png" for number in range(10)]
    before = [(path, "valid", "a", "b" if i < 6 else "a") for i, path in enumerate(valid)]
    after = [(path, "valid", "a", "a") for path in valid]
    return (
        run_with(tmp_path / "one", [*before, ("t.png", "test", "b", "b")]),
        run_with(tmp_path / "two", [*after, ("t.png", "test", "b", "a"), ("u.png", "test", "a", "a")]),
    )  # fmt: skip


def test_it_counts_what_became_right_and_wrong(runs):
    found = compare(*runs, "valid")
    assert (found.n, found.won, found.lost) == (10, 6, 0)
    assert found.p_value == pytest.approx(2 * 0.5**6)
    assert "the second is better" in found.sentence()
    back = compare(*reversed(runs), "valid")
    assert (back.won, back.lost) == (0, 6)
    assert "the second is worse" in back.sentence()


def test_without_a_split_all_that_both_have_predicted_counts(runs):
    found = compare(*runs)
    assert (found.n, found.won, found.lost) == (11, 6, 1)
    assert not found.differ
    assert "no difference is shown" in found.sentence()


def test_runs_without_a_common_picture_cannot_be_compared(runs):
    with pytest.raises(UsageError, match="no picture in common"):
        compare(*runs, "train")


def test_the_same_files_by_other_paths_are_the_same_pictures(tmp_path):
    """As after cleaning, when the table lies above the pictures."""
    before = run_with(tmp_path / "one", [("cat/1.png", "valid", "a", "b")], "/data/pictures")
    after = run_with(tmp_path / "two", [("pictures/cat/1.png", "valid", "a", "a")], "/data")
    moved = run_with(tmp_path / "three", [("cat/1.png", "valid", "a", "a")], "/elsewhere")
    assert (compare(before, after).n, compare(before, after).won) == (1, 1)
    assert compare(before, moved).n == 1
    with pytest.raises(UsageError, match="no picture in common"):
        compare(after, moved)
