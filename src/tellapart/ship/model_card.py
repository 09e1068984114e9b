"""The card beside an exported model: what it is, what it is worth, and how to use it, as Markdown.

In the manner of model cards (Mitchell et al. 2019). It says what the run knows, and what it does not.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tellapart.data.plain_text import plain
from tellapart.ship.parity import Parity

if TYPE_CHECKING:
    from tellapart.ship.int8_gate import Int8Gate

__all__ = ["MARK", "escaped", "model_card"]

MARK: Final = "<!-- a model card by tellapart export -->"
"""What tells a card of ours from a file of the user's."""

_SPLITS = {
    "valid": "validation",
    "test": "test",
    "held_out": "validation and test",
    "out_of_fold": "training, each picture by a model that had not seen it",
}


def model_card(
    facts: Mapping[str, Any], parity: Parity, int8: "Int8Gate | None", name: str, size: int
) -> str:
    """The text of the card. `facts` are those in the file's metadata, `name` and `size` (bytes) the file's.

    Names of classes are the user's, and stand in it as text."""
    parts = [
        [f"# {escaped(facts['name'])}", *_summary(facts, size)],
        ["## How good it is", *_figures(facts)],
        ["## When to believe it", *_trust(facts)],
        ["## The same answer everywhere", *_agreement(parity, int8)],
        ["## Data", *_data(facts)],
        ["## How to use it", *_usage(facts, name)],
        ["## Licence and versions", *_versions(facts)],
    ]
    return "\n\n".join("\n\n".join(part) for part in [*parts, [MARK]]) + "\n"


def escaped(text: object) -> str:
    """Text of the user's that Markdown leaves as it is.

    >>> escaped("<b>*cats*</b>")
    '\\\\<b\\\\>\\\\*cats\\\\*\\\\</b\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&])", r"\\\1", plain(str(text)))


def _summary(facts: Mapping[str, Any], size: int) -> Iterator[str]:
    classes, backbone = facts["classes"], facts["backbone"]
    shown = ", ".join(escaped(name) for name in classes[:30])
    more = f" and {len(classes) - 30} more" if len(classes) > 30 else ""
    yield f"An image classifier. It tells apart {len(classes)} classes: {shown}{more}."
    yield (
        f"The network is {escaped(backbone['name'])}, {backbone['parameters']:,} parameters, computed in "
        f"{facts['precision']}; the file has {size / 1e6:.1f} MB. It answers with one of these classes, "
        "whatever it is shown: see below when not to believe it."
    )


def _figures(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f"| {_SPLITS.get(name, escaped(name))} | {m['n']:,} | {m['errors']:,} | {m['accuracy']:.2%} | "
        f"{m['accuracy_low']:.1%} to {m['accuracy_high']:.1%} |"
        for name, m in facts["metrics"].items()
    ]
    header = "| pictures | n | errors | accuracy | 95 % interval |\n| --- | --- | --- | --- | --- |"
    yield "\n".join([header, *rows])
    if facts["precision"] != "float32":
        yield "These are the figures of the run, in float32."
    yield (
        "They hold for pictures that come as these did. Pictures from elsewhere (another camera, another "
        "website, other years) can be harder."
    )


def _trust(facts: Mapping[str, Any]) -> Iterator[str]:
    rule = facts["rule"]
    if rule["target_error"] is None:
        yield (
            f"An answer is called sure from a probability of {rule['sure_from']:.3f} on; that promises "
            "nothing."
        )
    else:
        yield (
            f"An answer is called sure from a probability of {rule['sure_from']:.3f} on: at most "
            f"{100 * rule['target_error']:g} % of these are wrong, with 90 % confidence, on pictures that "
            "come as the training pictures did."
        )
    if rule["strange_from"] is None:
        yield "It has no score for pictures that show none of the classes: of these it names one too."
    else:
        yield (
            f"Above a novelty of {rule['strange_from']:.2f} a picture is called none of these; "
            f"{100 * rule['kept']:.3g} % of known pictures lie below. Only plainly "
            "strange pictures lie above."
        )


def _agreement(parity: Parity, int8: "Int8Gate | None") -> Iterator[str]:
    if int8 is None:
        yield f"Compared with the run when it was exported: {parity.sentence()}."
        return
    yield f"Computed in 8 bits, it answers otherwise than the run. On validation pictures: {int8.sentence()}."
    yield (
        f"A probability changed by {int8.largest_change:.2g} at most, and in a picture by "
        f"{int8.mean_change:.2g} in the mean. The threshold from which answers are sure is the run's, found "
        "in float32."
    )


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    counts = facts["dataset"]["counts"]
    splits = {split: sum(by.values()) for split, by in counts.items()}
    yield (
        "Trained and measured on "
        + ", ".join(
            f"{n:,} {_SPLITS.get(split, 'training')} pictures" for split, n in splits.items() if n
        )
        + f". Fingerprint of the data: `{facts['dataset']['fingerprint']}`."
    )
    yield (
        "The pictures are not in the file, and neither are their names. The score for none of these holds "
        "64 numbers of each of some hundreds of training pictures."
        if facts["rule"]["strange_from"] is not None
        else "The pictures are not in the file, and neither are their names."
    )


def _usage(facts: Mapping[str, Any], name: str) -> Iterator[str]:
    size = facts["preprocess"]["size"]
    file = name if re.fullmatch(r"[\w.-]+", name) else "model.onnx"
    yield (
        f'```\npip install tellapart                      # or "tellapart[serve]"\n'
        f"tellapart predict {file} new.jpg\ntellapart export {file} --verify\n"
        f"tellapart serve {file}\n```"
    )
    yield (
        "Any ONNX runtime can run it (operator set 18). Its input `image` is the decoded picture, uint8 "
        "(height, width, 3), red, green, blue, upright (EXIF orientation applied, transparency over "
        f"white, no colour profile applied), of any size. The graph scales it to {size} × {size} px "
        f"({facts['preprocess']['fit']}) and normalises it. Outputs: `probabilities` in the order of the "
        "classes"
        + ("" if facts["rule"]["strange_from"] is None else ", `novelty`")
        + ", and on request `pixels` and `features`. The metadata entry `tellapart` holds classes, "
        "thresholds and all figures as JSON."
    )


def _versions(facts: Mapping[str, Any]) -> Iterator[str]:
    backbone = facts["backbone"]
    yield (
        f"The weights of the network: {escaped(backbone['licence'])}; {escaped(backbone['source'])}. "
        "What the training pictures allow is for their owners to say."
    )
    yield "\n".join(f"- {escaped(k)}: {escaped(v)}" for k, v in facts["versions"].items())
