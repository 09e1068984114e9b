"""Sheets of pictures: every class, as the network sees them, broken ones as empty places."""

import numpy as np
import pytest
from PIL import Image

from reporting.made_runs import HOSTILE
from tellapart.data.dataset import Dataset
from tellapart.errors import DatasetError, UsageError
from tellapart.model.preprocess import PreprocessSpec
from tellapart.reporting.counts_plot import plot_counts
from tellapart.reporting.sheet import show

SPEC = PreprocessSpec(size=64, fit="crop")


def pictures(root, write_picture, counts):
    rows = []
    for label, count in counts.items():
        for i in range(count):
            path = f"{label}/{i}.png"
            write_picture(root / path, size=(90, 70))
            rows.append((path, label, "valid" if i % 4 == 3 else "train"))
    return Dataset.from_rows(root, rows)


def test_every_class_has_as_many_places(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {"a": 9, "b": 2, "c": 9})
    found = show(dataset, rows=2, preprocess=SPEC)
    labels = [tile.lines[0] for tile in found.tiles]
    assert found.columns == 6
    assert labels[:6] == ["a", "b", "c", "a", "b", "c"]
    assert labels.count("b") == 2, "b has no more"
    assert labels.count("a") == labels.count("c") == 5
    assert found.note == ""


def test_a_picture_is_what_the_network_sees(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {"a": 1, "b": 1})
    found = show(dataset, 1, 2, preprocess=SPEC)
    for tile in found.tiles:
        with Image.open(tmp_path / tile.lines[0] / "0.png") as image:
            np.testing.assert_array_equal(tile.picture, SPEC.resize(image.convert("RGB")))
    assert len([axes for axes in found.plot().axes if axes.images]) == 2
    assert found._repr_png_()[:4] == b"\x89PNG"


def test_the_seed_chooses(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {"a": 30, "b": 30})
    sheets = [show(dataset, 1, 4, seed=seed, preprocess=SPEC) for seed in (1, 1, 2)]
    first, again, other = ([np.asarray(t.picture).sum() for t in s.tiles] for s in sheets)
    assert first == again != other


def test_broken_pictures_are_named_and_leave_an_empty_place(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {"a": 1, HOSTILE.replace("/", ""): 1})
    (tmp_path / "a" / "0.png").write_bytes(b"<html>")
    found = show(dataset, 1, 2, preprocess=SPEC)
    assert [failure.path for failure in found.failures] == ["a/0.png"]
    empty = [axes for axes in found.plot().axes if not axes.images]
    assert len(empty) == 1
    assert empty[0].texts[0].get_text() == "not an image"
    assert empty[0].get_title(loc="left") == "a"


class Brighter:
    """What tests the changes: brighter by the seed, in the network's own numbers."""

    def network_input(self, image, preprocess, seed):
        square = np.asarray(preprocess.resize(image), np.float32).transpose(2, 0, 1) / 255
        mean, std = (np.float32(v)[:, None, None] for v in (preprocess.mean, preprocess.std))
        return (np.minimum(square + seed / 255, 1) - mean) / std


def test_changes_are_shown_as_they_are(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {"a": 3, "b": 3})
    found = show(dataset, 2, 4, transforms=Brighter(), preprocess=SPEC)
    assert len(found.tiles) == 8
    for row in (found.tiles[:4], found.tiles[4:]):
        plain = np.asarray(row[0].picture, int)
        for seed, tile in enumerate(row[1:]):
            np.testing.assert_array_equal(tile.picture, np.minimum(plain + seed, 255))


def test_more_classes_than_places(tmp_path, write_picture):
    dataset = pictures(tmp_path, write_picture, {f"class {i}": 1 for i in range(20)})
    found = show(dataset, 2, 4, preprocess=SPEC)
    assert len({tile.lines[0] for tile in found.tiles}) == 8
    assert found.note == "8 of 20 classes"
    assert any(
        text.get_text() == found.note for text in show(dataset, 2, 4, preprocess=SPEC).plot().texts
    )


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (41, 3), (3, 25)])
def test_sizes_are_bounded(tmp_path, write_picture, rows, columns):
    dataset = pictures(tmp_path, write_picture, {"a": 1})
    with pytest.raises(UsageError, match="expected 1 to 40 and 1 to 24"):
        show(dataset, rows, columns)


def test_nothing_to_show(tmp_path):
    with pytest.raises(DatasetError, match="no pictures"):
        show(Dataset.from_rows(tmp_path, []))


def test_counts_by_class_and_split(tmp_path):
    rows = [
        (f"{i}.png", "cat" if i % 3 else "$dog$", ("train", "valid", "test")[i % 3])
        for i in range(12)
    ]
    (axes,) = plot_counts(Dataset.from_rows(tmp_path, rows)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$dog$", "cat"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"train": [4, 0], "valid": [0, 4], "test": [0, 4]}
    assert [text.get_text().strip() for text in axes.texts] == ["4", "8"]


def test_counts_of_very_many_classes():
    rows = [(f"{i}.png", f"class {i}") for i in range(900)]
    figure = plot_counts(Dataset.from_rows(".", rows))
    assert len(figure.axes[0].get_yticklabels()) == 60
    assert figure.get_size_inches()[1] <= 14
