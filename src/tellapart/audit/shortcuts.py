"""Shortcuts: what gives a class away without being what the class is about.

Two kinds are looked for: clues that are no content at all (`shortcut_clues.py`), and marks that sit
in one place of most pictures of one class (`marks.py`).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tellapart.audit.finding import Finding
from tellapart.audit.marks import Mark, find_marks
from tellapart.audit.shortcut_clues import Clue, clue_scores, rows_that_count
from tellapart.audit.subject import Subject
from tellapart.data.plain_text import plain
from tellapart.errors import UsageError
from tellapart.evaluation.figures import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_where", "find_shortcuts", "shortcut"]


def shortcut(subject: Subject) -> list[Finding]:
    """A finding for each clue that is a shortcut and each mark, the worst first.

    `score` is 1 less the lift: 0 where the clue tells the classes with certainty, 1 where it says
    nothing; of a mark, 1 less the share of the class that has it. `paths` is empty, as it is the
    class that is odd. `details` hold `kind`, "clue" or "mark", and the numbers: those of `Clue`, or
    of `Mark` with `map`, 48 rows of 48 numbers.
    """
    return [
        replace(f, drawing=png(draw_where(subject, f))) if f.details["kind"] == "mark" else f
        for f in find_shortcuts(subject)
    ]


def find_shortcuts(subject: Subject) -> list[Finding]:
    """The same findings without drawings."""
    found = [_of_clue(clue) for clue in clue_scores(subject) if clue.is_shortcut]
    found += [_of_mark(mark) for mark in marks_of(subject)]
    return sorted(found, key=lambda finding: finding.score)


def marks_of(subject: Subject) -> tuple[Mark, ...]:
    """The marks of a subject; copies count once, classes of fewer than 10 pictures not at all."""
    rows = rows_that_count(subject)
    if not len(rows):
        return ()
    places, targets = np.unique(subject.targets[rows], return_inverse=True)
    facts = subject.facts[rows]
    sizes = np.stack([facts["width"], facts["height"]], axis=1).astype(np.int64)
    names = [subject.classes[place] for place in places]
    return find_marks(facts["thumbnail"], sizes, targets, subject.folds[rows], names)


def draw_where(subject: Subject, finding: Finding) -> "Figure":
    """Where a mark sits: the mean of the class's thumbnails with a box, and the map of the differences.

    Raises UsageError for a finding that is no mark, MissingExtra without matplotlib.
    """
    from tellapart.evaluation.figures import new_figure

    details = finding.details
    if details.get("kind") != "mark":
        raise UsageError(f"the finding {finding.check!r} has no place; expected one of a mark")
    own = subject.targets == subject.classes.index(details["class"])
    mean = subject.facts["thumbnail"][own].mean(axis=0) / 255
    figure = new_figure(7, 3.4, dpi=100, layout="constrained")
    left, top, right, bottom = details["box"]
    pictures = ((f"mean of {plain(details['class'])}", mean), ("unlike the others", details["map"]))
    for place, (title, picture) in enumerate(pictures, 1):
        axes = figure.add_subplot(1, 2, place)
        axes.imshow(picture, extent=(0, 1, 1, 0), cmap="magma", aspect="auto")
        axes.plot(
            [left, right, right, left, left], [top, top, bottom, bottom, top], color="#00c8ff"
        )
        axes.set_title(
            f"{title}: {details['place']}" if place == 1 else title, fontsize=10, parse_math=False
        )
        axes.set_axis_off()
    return figure


def _of_clue(clue: Clue) -> Finding:
    told = [name for name, lean in clue.lean.items() if lean >= 0.5]
    named = f"; it gives away {', '.join(map(repr, told))}" if told else ""
    strength = max(clue.lift, *clue.lean.values())
    return Finding(
        "shortcut",
        (),
        max(0.0, 1 - strength),
        clue.sentence() + named,
        f"take pictures of every class from the same sources, or bring them to one {clue.name} "
        "before training; the score is not to be trusted until then",
        {"kind": "clue", **clue.to_json()},
    )


def _of_mark(mark: Mark) -> Finding:
    low, high = mark.interval
    return Finding(
        "shortcut",
        (),
        1 - mark.share,
        f"{mark.label!r} has the same mark at the {mark.place} in {100 * mark.share:.0f} % of "
        f"{mark.n} pictures (95 % interval {100 * low:.0f}–{100 * high:.0f} %), the others in "
        f"{100 * mark.others:.0f} %",
        "crop it away or paint it over, in all pictures alike; the classifier will look for it",
        {
            "kind": "mark", "class": mark.label, "place": mark.place, "n": mark.n,
            "share": mark.share, "interval": list(mark.interval), "others": mark.others,
            "inside": mark.inside, "p": mark.p, "box": list(mark.box),
            "accuracy": (mark.share + 1 - mark.others) / 2, "chance": 0.5,
            "map": np.round(mark.map, 2).tolist(),
        },
    )  # fmt: skip
