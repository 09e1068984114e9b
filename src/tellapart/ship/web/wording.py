"""What the page says of its model, in sentences and rows, from what the exported file says of itself."""

from collections.abc import Mapping
from typing import Any, Final

from tellapart.data.plain_text import plain
from tellapart.ship.web.browser_runtime import PACKAGE, VERSION

__all__ = ["fact_rows", "how_good", "shown_name"]

_WHERE: Final = {
    "test": "held-out pictures (the test split)",
    "valid": "held-out pictures (the validation split)",
    "out_of_fold": "training pictures, each answered without having been learned (cross-validation)",
}


def shown_name(facts: Mapping[str, Any]) -> str:
    """The name of the model, as it can be shown."""
    name = facts.get("name")
    return plain(name)[:80] if isinstance(name, str) and name.strip() else "Pictures told apart"


def how_good(facts: Mapping[str, Any]) -> str:
    """How good the model is: count, share and interval of the most honest split that was measured.

    >>> valid = {"n": 300, "errors": 6, "accuracy_low": 0.957, "accuracy_high": 0.991}
    >>> how_good({"metrics": {"valid": valid}})[:75]
    'Right for 294 of 300 held-out pictures (the validation split): 98.0 %, 95 %'
    """
    metrics = facts.get("metrics") or {}
    for split, where in _WHERE.items():
        try:
            found = metrics[split]
            n, errors = int(found["n"]), int(found["errors"])
            low, high = 100 * float(found["accuracy_low"]), 100 * float(found["accuracy_high"])
        except (KeyError, TypeError, ValueError):
            continue
        if n > 0:
            return (
                f"Right for {n - errors:,} of {n:,} {where}: {100 * (n - errors) / n:.1f} %, 95 % interval "
                f"{low:.1f}–{high:.1f} %. It holds for pictures like "
                "those; on others it may be wrong more often."
            )
    return "How good it is was not measured."


def fact_rows(facts: Mapping[str, Any], download: int) -> list[tuple[str, str]]:
    """Terms and what they are, for a list. `download` is what the page loads once, in bytes."""
    backbone = facts.get("backbone") or {}
    rows = [
        ("Network", _text(backbone.get("name"))),
        (
            "Its weights",
            " · ".join(filter(None, (_text(backbone.get(k)) for k in ("licence", "source")))),
        ),
        ("Numbers", {"float32": "32 bits", "int8": "8 bits"}.get(str(facts.get("precision")), "")),
        ("Pictures", _counts(facts)),
        ("Made with", _text((facts.get("versions") or {}).get("tellapart"), "tellapart ")),
        ("Run by", f"ONNX Runtime Web {VERSION} (npm: {PACKAGE}; Microsoft, MIT licence)"),
        ("Loaded once", f"{download / 1e6:.0f} MB"),
    ]
    return [(term, text) for term, text in rows if text]


def _counts(facts: Mapping[str, Any]) -> str:
    """How many pictures there were to learn from, where the file says so by split."""
    counts = (facts.get("dataset") or {}).get("counts")
    train = counts.get("train") if isinstance(counts, dict) else None
    total = sum(train.values()) if isinstance(train, dict) else train
    return f"learned from {total:,}" if isinstance(total, int) and total > 0 else ""


def _text(value: Any, before: str = "") -> str:
    return before + plain(value)[:300] if isinstance(value, str) and value else ""
