"""What an exported file says of itself: taken from the run, without a date, a path or a picture's name."""

from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import onnx

from tellapart.ship.exported import FORMAT
from tellapart.ship.predictor import rule_of
from tellapart.training.run import Run

if TYPE_CHECKING:
    from tellapart.ship.int8_gate import Int8Gate

__all__ = ["facts_of"]

_FIGURES: Final = (
    "n", "errors", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "log_loss",
)  # fmt: skip
_BACKBONE: Final = (
    "name", "licence", "source", "parameters", "weights_sha256", "graph_sha256",
)  # fmt: skip


def facts_of(run: Run, int8: "Int8Gate | None", *, takes: str = "image") -> dict[str, Any]:
    """The facts, as JSON can hold them; the same run gives the same. `takes` is the name of the input."""
    info, trust = run.info, run.trust
    versions = {f"trained with {name}": v for name, v in info.get("versions", {}).items()}
    return {
        "format": FORMAT,
        "takes": takes,
        "name": run.folder.resolve().name,
        "classes": info["classes"],
        "preprocess": info["preprocess"],
        "rule": asdict(rule_of(run)),
        "curve": None if trust is None else trust.curve.to_json(),
        "metrics": {
            split: {name: values[name] for name in _FIGURES}
            for split, values in info["metrics"].items()
        },
        "backbone": {key: info["backbone"].get(key) for key in _BACKBONE},
        "dataset": {key: info["dataset"][key] for key in ("fingerprint", "counts")},
        "precision": "float32" if int8 is None else "int8",
        "int8": None if int8 is None else int8.to_json(),
        "versions": {"tellapart": version("tellapart"), "onnx": onnx.__version__, **versions},
    }
