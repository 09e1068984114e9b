"""How to do it again: the commands that make the same run from the same pictures."""

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any, Final

from tellapart.data.plain_text import plain
from tellapart.errors import RunError
from tellapart.reporting.data_card import training_data
from tellapart.training.run import Run, read_config

__all__ = ["Commands", "base_run", "commands_for"]

Commands = tuple[str, ...]

_TRAIN: Final[Mapping[str, tuple[str, Any]]] = {
    "backbone": ("--backbone", "tf_efficientnet_lite0"), "weights": ("--weights", None),
    "size": ("--size", None), "fit": ("--fit", None), "valid": ("--valid", 0.2),
    "train_dir": ("--train-dir", None), "valid_dir": ("--valid-dir", None),
    "test_dir": ("--test-dir", None), "class_weight": ("--class-weight", "auto"),
    "target_error": ("--target-error", 0.05), "seed": ("--seed", 0),
    "runtime": ("--runtime", "onnxruntime"),
}  # fmt: skip
"""Each option of `train` by its name in config.json: how the command line calls it, and its default."""

_ONE_CYCLE: Final[Mapping[str, tuple[str, Any]]] = {
    "epochs": ("--epochs", None), "lr": ("--lr", "2e-3"), "head": ("--head", "linear"),
    "views": ("--views", 1),
}  # fmt: skip

_FINETUNE: Final[Mapping[str, tuple[str, Any]]] = {
    "epochs": ("--epochs", 2), "lr": ("--lr", "1e-5..1e-4"), "unfreeze": ("--unfreeze", "all"),
    "batch": ("--batch", 32), "accumulate": ("--accumulate", 1), "from": ("--from", None),
    "label_smoothing": ("--label-smoothing", 0.0), "mixup": ("--mixup", 0.0),
    "cutmix": ("--cutmix", 0.0), "ema": ("--ema", 0.0), "patience": ("--patience", 0),
    "views": ("--views", 4), "seed": ("--seed", 0),
}  # fmt: skip

_CHANGES: Final[Mapping[str, tuple[str, Any]]] = {
    "max_rotate": ("--max-rotate", 10.0), "max_zoom": ("--max-zoom", 1.1),
    "max_warp": ("--max-warp", 0.2), "max_lighting": ("--max-lighting", 0.2),
}  # fmt: skip

_SILENT: Final[Mapping[str, Any]] = {
    "batch": 64, "weight_decay": 0.01, "label_smoothing": 0.0, "div": 25.0, "pct_start": 0.25,
}  # fmt: skip
"""Dials of epochs that the command line has not; other values take Python."""

_SILENT_FINETUNE: Final[Mapping[str, Any]] = {"weight_decay": 0.01, "div": 5.0, "pct_start": 0.3}


def commands_for(run: Run) -> tuple[Commands, tuple[str, ...]]:
    """The commands, in order, and sentences on what they cannot say.

    For a stage they are those of its run and of the stages that it came from.
    """
    trained = base_run(run)
    if trained is None:
        return (), (
            "The run that this stage came from is not beside it, so it cannot be said how.",
        )
    lines, notes = [_train_command(trained)], _unsaid(trained)
    for stage in _stages(run, trained):
        if "finetune" in stage.info:
            lines.append(_finetune_command(trained, stage))
            notes += _unsaid_of_stage(stage)
        else:
            notes.append(f"Stage {stage.folder.name} was trained in Python, by a Learner.")
    return tuple(lines), tuple(notes)


def base_run(run: Run) -> Run | None:
    """The run itself, or for a stage the run that it belongs to; None where that is not there."""
    if "of_run" not in run.info:
        return run
    near = run.folder if len(run.folder.parts) > 2 else run.folder.resolve()
    try:
        found = Run.load(near.parent.parent)
    except RunError:
        return None
    same = found.info["dataset"].get("fingerprint") == run.info["dataset"].get("fingerprint")
    return found if same and "of_run" not in found.info else None


def _stages(run: Run, trained: Run) -> list[Run]:
    """From the first stage after the run to this one; what is gone is left out."""
    chain: list[Run] = []
    stage = run
    while "of_run" in stage.info and len(chain) < 50:
        chain.insert(0, stage)
        try:
            stage = Run.load(trained.folder / "stages" / str(stage.info.get("from")))
        except RunError:
            break
    return chain


def _train_command(trained: Run) -> str:
    config = _config(trained)
    words = ["tellapart", "train", _word(training_data(trained) or config.get("data", "DATA"))]
    words += ["--out", _word(trained.folder)]
    words += _options(config, _TRAIN)
    recipe = config.get("recipe") or {}
    if recipe.get("recipe") == "probe":
        if recipe.get("views"):
            words += ["--views", str(len(recipe["views"]))]
    elif recipe:
        words += ["--recipe", str(recipe["recipe"]), *_options(recipe, _ONE_CYCLE)]
        if not (recipe.get("transforms") or {}).get("do_flip", True):
            words.append("--no-flip")
    return " ".join(words)


def _finetune_command(trained: Run, stage: Run) -> str:
    facts = {**stage.info["finetune"], "from": stage.info.get("from")}
    changes = facts.get("transforms") or {}
    words = ["tellapart", "finetune", _word(trained.folder), *_options(facts, _FINETUNE)]
    words += ["--name", _word(stage.folder.resolve().name)]
    words.append("--flip" if changes.get("do_flip", True) else "--no-flip")
    return " ".join([*words, *_options(changes, _CHANGES)])


def _options(values: Mapping[str, Any], named: Mapping[str, tuple[str, Any]]) -> Iterator[str]:
    """Words for those that are not as they would be by themselves."""
    for key, (flag, default) in named.items():
        value = values.get(key)
        if value is not None and not _same(value, default):
            yield flag
            yield _word(f"{value:g}" if isinstance(value, float) else value)


def _same(value: Any, default: Any) -> bool:
    """Also where rates are written in another way: 1e-05..0.0001 is 1e-5..1e-4."""
    if isinstance(value, str) and isinstance(default, str):
        try:
            return [*map(float, value.split(".."))] == [*map(float, default.split(".."))]
        except ValueError:
            return value == default
    return bool(value == default)


def _unsaid(trained: Run) -> list[str]:
    config = _config(trained)
    notes = []
    if not training_data(trained):
        notes.append(
            "It was trained in Python, on a Dataset: the command reads the whole folder, which need not be "
            "the same pictures."
        )
    recipe = config.get("recipe") or {}
    if odd := _other(recipe, _SILENT):
        notes.append(f"Set in Python alone: {odd}.")
    return notes


def _unsaid_of_stage(stage: Run) -> list[str]:
    odd = _other(stage.info["finetune"], _SILENT_FINETUNE)
    return [f"Set in Python alone, for {stage.folder.name}: {odd}."] if odd else []


def _other(values: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {values[key]}" for key in usual if key in values and values[key] != usual[key]
    )


def _config(trained: Run) -> dict[str, Any]:
    config = read_config(trained.folder)
    return config if isinstance(config, dict) else {}


def _word(value: Any) -> str:
    return quote(plain(str(value)))
