"""Drawn pictures and their answers, which an exported file carries, so that it can be checked anywhere.

Some small drawings of tellapart's own, each as another kind of file, and what the training side makes of
them at each step. They take about a fiftieth of the file. No picture of the user's leaves the machine.
"""

import base64
import json
from typing import Any, Final

from tellapart.data.ordered_map import ordered_map
from tellapart.errors import ImageError, ModelError, ParityError
from tellapart.ship.exported import REFERENCE, ModelFile, step_of
from tellapart.ship.parity import (
    MOST_APART,
    MOST_APART_INT8,
    Compared,
    Parity,
    Samples,
    compare_steps,
    judge,
)
from tellapart.ship.picture_kinds import KINDS, as_kind

__all__ = ["reference_files", "verify_file"]

_SIDE: Final = 120  # px
_MOST = 100


def reference_files() -> dict[str, bytes]:
    """A small drawing as each kind of file, by the kind's name; the same on every call."""
    from tellapart.data.gallery.picture import CLASSES, draw_picture

    found = {}
    for turn, kind in enumerate(KINDS):
        picture = draw_picture(CLASSES[turn % len(CLASSES)], turn, 7)
        picture.thumbnail((_SIDE, _SIDE))
        found[kind] = as_kind(picture, kind, turn)
    return found


def verify_file(model: ModelFile, name: str, *, workers: int = 1) -> Parity:
    """Whether the file answers here as it did where it was exported, by the drawings in it.

    Raises ParityError, with the step at which they part, and ModelError where there are none.
    """
    try:
        held = json.loads(model.metadata[REFERENCE])[:_MOST]
        kept = [_expected(one) for one in held]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ModelError(f"{name} carries nothing to verify it with. Export it again") from None
    if not kept:
        raise ModelError(f"{name} carries nothing to verify it with. Export it again")

    most = MOST_APART if model.facts["precision"] == "float32" else MOST_APART_INT8

    def compared(one: tuple[str, bytes, Samples]) -> Compared:
        kind, content, expected = one
        try:
            found = Samples.of(model.steps(content, kind), model.preprocess)
        except ImageError as error:
            step = step_of(error)
            remedy = f"Install the newest {'Pillow' if step == 'decode' else 'ONNX Runtime'}"
            raise ParityError(
                f"{name}: the drawing as {error}. It has no answer here, at the step {step}. {remedy}",
                kind,
                step,
            ) from None
        return compare_steps(f"the drawing as {kind}", expected, found, most=most)

    return judge(
        ordered_map(compared, kept, workers=workers), kinds=len(kept), where="drawings that it carries",
        next_step="Update Pillow and ONNX Runtime here, or export again with the versions at hand",
        most=most,
    )  # fmt: skip


def _expected(one: dict[str, Any]) -> tuple[str, bytes, Samples]:
    content = base64.b64decode(one["file"], validate=True)
    return str(one["kind"]), content, Samples.from_json(one)
