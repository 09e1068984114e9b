"""The checks by name, in the order in which they are run and shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tellapart.audit.classes import confusable, imbalance, tiny_class
from tellapart.audit.copies import conflict, exact_duplicate, leak, near_duplicate
from tellapart.audit.finding import Finding
from tellapart.audit.label_errors import ambiguous_pictures, atypical_pictures, label_errors
from tellapart.audit.odd_pictures import ODD_PICTURES
from tellapart.audit.shortcuts import shortcut
from tellapart.audit.subject import Subject

__all__ = ["CHECKS", "Check"]


@dataclass(frozen=True)
class Check:
    """How to find something, what it is called where people read, and why it matters.

    `trains` says that it asks a classifier, and so needs classes and pictures that differ.
    """

    find: Callable[[Subject], list[Finding]]
    title: str
    why: str
    trains: bool = False


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        **{
            name: Check(find, title, why)
            for name, (find, title, why) in ODD_PICTURES.items()
        },
        "exact_duplicate": Check(
            exact_duplicate, "Exact copies", "The same file twice teaches nothing, and counts twice."
        ),
        "near_duplicate": Check(
            near_duplicate, "Near copies",
            "Saved again, resized, cropped, mirrored, turned, framed or stamped. They are kept on one "
            "side of a split that is made here.",
        ),
        "leak": Check(
            leak, "Leaks",
            "A held-out picture whose copy is trained on is no test; it flatters the figures.",
        ),
        "conflict": Check(
            conflict, "Copies with different labels", "One of the labels is wrong, or both apply."
        ),
        "label_error": Check(
            label_errors, "Labels that look wrong",
            "Judged by a classifier that has not seen the picture; the final word is yours.",
            trains=True,
        ),
        "outlier": Check(
            atypical_pictures, "Unlike the others",
            "Far from all pictures of their class and of the others: rare, or not meant to be here.",
            trains=True,
        ),
        "ambiguous": Check(
            ambiguous_pictures, "Between two classes", "Two classes fit about equally well.",
            trains=True,
        ),
        "imbalance": Check(imbalance, "Uneven classes", "Small classes are learned worse.", trains=True),
        "tiny_class": Check(
            tiny_class, "Tiny classes", "With few pictures no figure of a class means much.",
            trains=True,
        ),
        "confusable": Check(
            confusable, "Classes that cannot be told apart",
            "Perhaps they are one class, or their labels were given by chance.",
            trains=True,
        ),
        "shortcut": Check(
            shortcut, "Shortcuts",
            "What should not matter gives the label away, and a classifier may learn that instead.",
            trains=True,
        ),
    }
)  # fmt: skip
"""Name → check; the names are those of the column `check` in findings.csv."""
