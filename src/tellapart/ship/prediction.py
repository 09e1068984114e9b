"""The answer for one picture: class, probabilities, and when to believe it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SURE_FROM", "Prediction", "Rule"]

SURE_FROM = 0.7
"""Below this probability an answer is `not_sure`, where no threshold could be fitted."""


@dataclass(frozen=True)
class Rule:
    """When an answer is `sure`, and when a picture shows `none_of_these`.

    `sure_from` is a probability; it keeps errors below `target_error`, or promises nothing where that is
    None. Above `strange_from` (a novelty score) a picture is unlike the training pictures, of which
    the share `kept` lies below; None where such a score was not fitted. From `possible_from` on a class
    belongs to those that a picture may be of, a set that holds the right one for 95 % of pictures.
    """

    sure_from: float = SURE_FROM
    target_error: float | None = None
    strange_from: float | None = None
    kept: float | None = None
    possible_from: float | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture; unpacks as (category, index, probabilities).

    `probabilities` is float32 (K,) in the order of `classes`. Where the picture could not be used,
    `error` says why, `index` is −1 and the category is empty. `novelty` says how strange the picture is
    (about 0 for known kinds, high is strange); `rule` makes the verdict of all that.

    >>> import numpy as np
    >>> answer = Prediction("a.jpg", ("cat", "dog"), np.float32([0.4, 0.6]), rule=Rule(0.81, 0.02))
    >>> answer.verdict, answer.reason
    ('not_sure', '0.600 is below the 0.810 that keeps errors below 2 %')
    """

    path: str
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    error: str | None = None
    novelty: float | None = None
    rule: Rule = Rule()

    @property
    def index(self) -> int:
        return -1 if self.error is not None else int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        return "" if self.error is not None else self.classes[self.index]

    @property
    def probability(self) -> float | None:
        return None if self.error is not None else float(self.probabilities[self.index])

    @property
    def verdict(self) -> str | None:
        """`sure`, `not_sure` where the most probable class has too little, or `none_of_these` where
        the picture is unlike all that the run was trained on."""
        if self.probability is None:
            return None
        if self._strange:
            return "none_of_these"
        return "sure" if self.probability >= self.rule.sure_from else "not_sure"

    @property
    def reason(self) -> str | None:
        """Why the verdict is what it is, in words with the numbers; None where there is no verdict."""
        if self.probability is None:
            return None
        rule = self.rule
        if self._strange:
            return (
                f"unlike the training pictures: its novelty of {self.novelty:.2f} is above "
                f"{rule.strange_from:.2f}, and that of {100 * (rule.kept or 0):.3g} % of known pictures "
                "is not"
            )
        side = "is below" if self.verdict == "not_sure" else "reaches"
        if rule.target_error is None:
            return f"{self.probability:.3f} {side} {rule.sure_from:.3f}, which promises nothing"
        return (
            f"{self.probability:.3f} {side} the {rule.sure_from:.3f} that keeps errors below "
            f"{100 * rule.target_error:g} %"
        )

    @property
    def possible(self) -> tuple[str, ...] | None:
        """The classes that the picture may be of, the most probable first: the right one is among them for
        95 % of pictures of these classes (conformal sets, Sadinle, Lei & Wasserman 2019, and never
        empty). None where that is not known, or the picture could not be used."""
        if self.error is not None or self.rule.possible_from is None:
            return None
        every = self.top(len(self.classes))
        least = min(self.rule.possible_from, every[0][1])
        return tuple(name for name, probability in every if probability >= least)

    @property
    def _strange(self) -> bool:
        bound = self.rule.strange_from
        return self.novelty is not None and bound is not None and self.novelty > bound

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, the most probable first."""
        if self.error is not None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]

    def __iter__(self) -> Iterator[Any]:
        yield from (self.label, self.index, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        failed = self.error is not None
        by_class = zip(self.classes, self.probabilities.tolist(), strict=True)
        return {
            "path": self.path,
            "label": None if failed else self.label,
            "probability": self.probability,
            "probabilities": None if failed else dict(by_class),
            "verdict": self.verdict,
            "reason": self.reason,
            "possible": None if self.possible is None else list(self.possible),
            "error": self.error,
        }
