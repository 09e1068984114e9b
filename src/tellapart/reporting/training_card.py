"""How a run was trained, in words and numbers for people."""

from dataclasses import dataclass
from typing import Any

from tellapart.reporting.charts import Chart
from tellapart.reporting.commands import commands_for
from tellapart.reporting.training_charts import EpochRow, history_chart, read_epochs
from tellapart.training.run import Run

__all__ = ["TrainingCard", "training_card"]

_STAGES = {
    "scan": "looking for pictures", "open": "opening the network", "embed": "embedding",
    "copies": "finding copies", "views": "augmented views", "probe": "fitting the head",
    "trust": "thresholds", "evaluate": "measuring", "finetune": "fine-tuning", "train": "training",
}  # fmt: skip
_FITS = {
    "crop": "the middle of it is cut out",
    "pad": "it is fitted in, with white beside it",
    "squish": "its sides are squeezed",
}
_LEAST_SECONDS = 0.05

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TrainingCard:
    """`summary` in a sentence, `facts` as pairs, `seconds` by stage with their share of all."""

    summary: str
    facts: Facts
    seconds: tuple[tuple[str, float, float], ...]
    epochs: tuple[EpochRow, ...]
    history: Chart | None
    versions: Facts
    commands: tuple[str, ...]
    unsaid: tuple[str, ...]


def training_card(run: Run) -> TrainingCard:
    """What run.json and history.csv say; what a run does not know is left out."""
    epochs = read_epochs(run)
    commands, unsaid = commands_for(run)
    taken = {k: float(v) for k, v in run.info.get("seconds", {}).items()}
    total = sum(taken.values()) or 1.0
    return TrainingCard(
        _summary(run), tuple(_facts(run)),
        tuple(
            (_STAGES.get(name, name), value, value / total)
            for name, value in taken.items()
            if value >= _LEAST_SECONDS
        ),
        tuple(epochs), history_chart(epochs),
        tuple((str(k), str(v)) for k, v in run.info.get("versions", {}).items()), commands, unsaid,
    )  # fmt: skip


def _summary(run: Run) -> str:
    name = run.info["backbone"]["name"]
    if tuned := run.info.get("finetune"):
        epochs = tuned["epochs"]
        times = "epoch" if epochs == 1 else "epochs"
        return f"The network {name} itself was trained on for {epochs} {times}, with its head."
    if cycle := run.info.get("one_cycle"):
        return f"A {cycle['head']} head was trained on for {cycle['epochs']} epochs; the network stayed."
    probe = run.info["probe"]
    if probe.get("recipe") == "one-cycle":
        return (
            f"The network {name} stayed as it was; a {probe['head']} head on what it sees was trained for "
            f"{probe['epochs']} epochs."
        )
    return (
        f"The network {name} stayed as it was; on what it sees a logistic regression was solved, its "
        "penalty chosen by cross-validation."
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    backbone, preprocess = run.info["backbone"], run.preprocess
    facts: list[tuple[str, Any]] = [
        ("Network", backbone["name"]),
        ("Parameters", f"{backbone['parameters']:,}" if backbone.get("parameters") else None),
        ("Weights", backbone.get("source")),
        ("Licence of the weights", backbone.get("licence")),
        ("Sees", f"{preprocess.size} × {preprocess.size} px; {_FITS[preprocess.fit]}"),
        ("Computed with", run.info.get("precision")),
        *([] if "finetune" in run.info else _head_facts(run.info["probe"])),
        *_stage_facts(run),
        ("Seed", run.info["options"].get("seed")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _head_facts(probe: dict[str, Any]) -> list[tuple[str, Any]]:
    if probe.get("recipe") == "one-cycle":
        return [
            ("Head", probe.get("head")),
            ("Highest learning rate", probe.get("lr")),
            ("Augmented views", probe.get("views")),
        ]
    strength, features = probe.get("strength"), probe.get("features")
    return [
        ("Features", {"all": "of all stages", "final": "of the last stage"}.get(str(features))),
        ("Penalty", None if strength is None else f"{strength:g} / number of pictures"),
        ("Classes weighed", "all the same" if probe.get("balanced") else "by their pictures"),
        ("Temperature", f"{probe['temperature']:.3f}" if "temperature" in probe else None),
    ]


def _stage_facts(run: Run) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    if "stage" in run.info:
        found += [("Stage", run.info["stage"]), ("Went on from", run.info.get("from"))]
    if tuned := run.info.get("finetune"):
        changes = tuned.get("transforms") or {}
        found += [
            ("Learning rates", tuned["lr"]), ("Layer groups that learned", tuned["unfreeze"]),
            ("Batch", tuned["batch"] * tuned.get("accumulate", 1)),
            ("Mirrored at random", "yes" if changes.get("do_flip") else "no"),
        ]  # fmt: skip
    return found
