"""What the gallery consists of: one job for each file, known before anything is drawn."""

from dataclasses import dataclass

import numpy as np

from tellapart.data.gallery.picture import CLASSES

__all__ = ["Job", "Slot", "slots", "split_of_each"]


@dataclass(frozen=True)
class Slot:
    """A place in the gallery: the number of a picture within its class, and its split.

    `split` is "train" or "valid", or "" in a gallery that is not split.
    """

    label: str
    index: int
    split: str

    def path(self, subject: str, suffix: str) -> str:
        """Where its file goes, below the gallery's root.

        >>> Slot("painting", 7, "train").path("vase", "jpg")
        'train/painting/painting-0007-vase.jpg'
        """
        name = f"{self.label}-{self.index:04d}-{subject}.{suffix}"
        return "/".join(part for part in (self.split, self.label, name) if part)


@dataclass(frozen=True)
class Job:
    """One file to make: picture `index` of `style`, altered and stamped as it says, at `path`."""

    path: str
    style: str
    index: int
    seed: int
    alteration: str = ""
    stamp: str = ""


def split_of_each(per_class: int, valid: float, rng: np.random.Generator) -> list[str]:
    """The split of each picture of a class; both splits get at least one.

    >>> sorted(split_of_each(4, 0.25, np.random.default_rng(0)))
    ['train', 'train', 'train', 'valid']
    """
    if valid == 0:
        return [""] * per_class
    held = min(max(1, round(valid * per_class)), per_class - 1)
    chosen = set(rng.permutation(per_class)[:held].tolist())
    return ["valid" if index in chosen else "train" for index in range(per_class)]


def slots(per_class: int, valid: float, seed: int) -> list[Slot]:
    """Every place of a gallery, class by class.

    >>> len(slots(3, 0.0, 0))
    15
    """
    every: list[Slot] = []
    for number, label in enumerate(CLASSES):
        rng = np.random.default_rng([seed, number, per_class, 31])
        splits = split_of_each(per_class, valid, rng)
        every += [Slot(label, index, split) for index, split in enumerate(splits)]
    return every
