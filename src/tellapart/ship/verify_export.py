"""The check of an exported file on any machine: a base install is enough, without a run to compare with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tellapart.errors import ParityError, UsageError
from tellapart.ship.exported import ModelFile
from tellapart.ship.parity import Parity
from tellapart.ship.reference import verify_file

if TYPE_CHECKING:
    from tellapart.training.run import Run  # a base install has not what it needs

__all__ = ["verify_export"]

_SAME = ("classes", "preprocess", "rule", "curve", "metrics", "backbone", "dataset")


def verify_export(
    file: str | Path,
    run: "Run | str | Path | None" = None,
    *,
    pictures: int = 100,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Parity:
    """Whether an exported file answers here as it did where it was exported; with a run, as that does.

    Without one, the drawings in the file are compared. With one, what the file says of itself must be what
    the run says, and `pictures` files of its pictures must get the same answer.

    Raises ParityError where the answers part, with the step; ModelError for a file that is none; and
    UsageError for a file that is not of this run.

    >>> verify_export("photos.onnx").n                        # doctest: +SKIP
    11
    """
    model = ModelFile.open(file, workers=workers)
    parity = verify_file(model, str(file), workers=workers or 1)
    if run is None:
        return parity
    from tellapart.ship.facts import facts_of
    from tellapart.ship.gate import check_parity
    from tellapart.ship.training_side import TrainingSide
    from tellapart.training.run import Run
    from tellapart.training.run_pictures import run_pictures

    run = run if isinstance(run, Run) else Run.load(run)
    if model.facts["precision"] != "float32":
        raise UsageError(
            f"{file} computes in {model.facts['precision']}, the run does not. Verify it without the run"
        )
    wanted = json.loads(json.dumps(facts_of(run, None)))
    other = [name for name in _SAME if model.facts.get(name) != wanted[name]]
    if other:
        raise UsageError(
            f"{file} is not what {run.folder} would be exported as: its {', '.join(other)} differ. Name the "
            "run that it comes from, or export again"
        )
    side = TrainingSide(run, workers=workers)
    try:
        return check_parity(run_pictures(run), side, model, count=pictures, progress=progress)
    except ParityError as error:
        raise error.with_next_step("Export again, with the versions at hand") from None
