"""Whether pictures are mirrored in fine-tuning, where nobody said so: letters are not, discs are."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import tellapart

pytest.importorskip("torch")


def letter(name, rng):
    image = Image.new("RGB", (120, 120), tuple(rng.integers(160, 256, 3).tolist()))
    font = ImageFont.load_default(float(rng.integers(60, 90)))
    place = tuple((60 + rng.integers(-12, 13, 2)).tolist())
    ImageDraw.Draw(image).text(place, name, "black", font, anchor="mm")
    return image.rotate(float(rng.uniform(-8, 8)), fillcolor=image.getpixel((0, 0)))


def shape(name, rng):
    image = Image.new("RGB", (120, 120), tuple(rng.integers(160, 256, 3).tolist()))
    x, y = rng.integers(20, 40, 2).tolist()
    draw = ImageDraw.Draw(image)
    (draw.ellipse if name == "disc" else draw.rectangle)((x, y, x + 60, y + 60), "navy")
    return image


@pytest.mark.parametrize(
    ("draw", "classes", "words"),
    [
        (letter, "bdpq", "not mirrored: flip is unsafe"),
        (shape, ("disc", "box"), "mirrored at random: flip is"),
    ],
)
def test_pictures_say_whether_they_bear_it(draw, classes, words, tmp_path):
    rng = np.random.default_rng(0)
    for name in classes:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(36):
            draw(name, rng).save(tmp_path / "data" / name / f"{number}.png")
    tellapart.train(tmp_path / "data", tmp_path / "run")
    command = [sys.executable, "-m", "tellapart.cli.main", "finetune", str(tmp_path / "run")]
    options = ["--epochs", "1", "--unfreeze", "last", "--views", "1", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Pictures are {words}" in done.stderr
    assert ('"do_flip": false' in done.stdout) == ("not mirrored" in words)
