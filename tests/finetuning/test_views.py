"""Views: the same picture looks the same in a view, whoever asks, and whatever else goes on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from tellapart.errors import UsageError  # noqa: E402
from tellapart.finetuning.augment import Transforms  # noqa: E402
from tellapart.finetuning.views import AugmentedView, augmented_views  # noqa: E402
from tellapart.model.preprocess import PreprocessSpec  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
SPEC = PreprocessSpec(size=48)
VIEW = AugmentedView(0, Transforms(p_affine=1.0, p_lighting=1.0))


def picture(number):
    pixels = np.random.default_rng(number).integers(0, 256, (60, 56, 3), np.uint8)
    return Image.fromarray(pixels), f"{number:064x}"


def seen(view, number=1):
    image, sha256 = picture(number)
    return view.pixels(image, SPEC, sha256)


def test_several_threads_see_what_one_sees():
    numbers = [*range(12)] * 4
    expected = [seen(VIEW, number) for number in numbers]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: seen(VIEW, number), numbers))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_torchs_generator_does_not_matter_and_stays_as_it_is():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = seen(VIEW)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.testing.assert_array_equal(seen(VIEW), one)


def test_another_seed_number_or_picture_is_changed_otherwise():
    image, sha256 = picture(1)
    one = VIEW.pixels(image, SPEC, sha256)
    others = [
        replace(VIEW, seed=1).pixels(image, SPEC, sha256),
        replace(VIEW, number=1).pixels(image, SPEC, sha256),
        VIEW.pixels(image, SPEC, "2" + sha256[1:]),
    ]
    for other in others:
        assert other.shape == one.shape == (1, 3, 48, 48)
        assert other.dtype == np.float32
        assert np.abs(other - one).mean() > 0.05


def test_each_dial_is_a_part_of_the_key():
    changed = {
        "do_flip": False, "flip_vert": True, "max_rotate": 1.0, "max_zoom": 1.2,
        "max_lighting": 0.1, "max_warp": 0.1, "p_affine": 0.5, "p_lighting": 0.5,
    }  # fmt: skip
    dials = [Transforms(), *(Transforms(**{name: value}) for name, value in changed.items())]
    assert changed.keys() == vars(Transforms()).keys()
    keys = [AugmentedView(0, own).key for own in dials]
    keys += [AugmentedView(1, dials[0]).key, AugmentedView(0, dials[0], seed=1).key]
    assert len(set(keys)) == len(keys)
    assert AugmentedView(0, Transforms()).key == keys[0]


def test_with_all_dials_off_a_view_shows_the_picture_plainly():
    image, sha256 = picture(1)
    still = AugmentedView(0, Transforms(do_flip=False, p_affine=0.0, p_lighting=0.0))
    np.testing.assert_allclose(still.pixels(image, SPEC, sha256), SPEC.apply(image), atol=1e-5)


def test_no_flip_never_mirrors():
    image, _ = picture(1)
    mirrored = SPEC.apply(image)[..., ::-1]

    def flips(transforms):
        views = [AugmentedView(number, transforms) for number in range(20)]
        found = [view.pixels(image, SPEC, "0" * 64) for view in views]
        return sum(np.allclose(pixels, mirrored, atol=1e-5) for pixels in found)

    assert 4 <= flips(Transforms(p_affine=0.0, p_lighting=0.0)) <= 16
    assert flips(Transforms(do_flip=False, p_affine=0.0, p_lighting=0.0)) == 0


def test_views_are_numbered_and_few_enough():
    assert [view.number for view in augmented_views(3, seed=5)] == [0, 1, 2]
    assert augmented_views(0) == ()
    for wrong in (-1, 65):
        with pytest.raises(UsageError, match="0 to 64"):
            augmented_views(wrong)
