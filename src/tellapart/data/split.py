"""Splits that cannot leak: stratified by class, and copies of one picture always on the same side.

scikit-learn's StratifiedGroupKFold deals equal folds alone, not a fifth for validation, and asks every
class to have as many members as there are folds; the same dealing serves both needs here. Near-copies
are not known here: whoever finds them gives them as groups.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["deal", "group_rows"]


def group_rows(*columns: Sequence[str]) -> NDArray[np.intp]:
    """A number per row, the same for rows that share a value in any of the columns; "" shares nothing.

    >>> group_rows(["a", "b", "a", ""], ["", "x", "", "x"]).tolist()
    [0, 1, 0, 1]
    """
    parent = list(range(len(columns[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in columns:
        first: dict[str, int] = {}
        for row, value in enumerate(column):
            if value:
                a, b = root(row), root(first.setdefault(value, row))
                parent[max(a, b)] = min(a, b)
    roots = [root(row) for row in range(len(parent))]
    return np.unique(np.asarray(roots, np.intp), return_inverse=True)[1]


def deal(
    labels: Sequence[str],
    groups: NDArray[np.intp],
    shares: Sequence[float],
    *,
    keys: Sequence[str],
    seed: int,
) -> NDArray[np.intp]:
    """The part, 0 … len(shares) − 1, that each row falls into.

    Every part gets about its share of every class, and a group never falls apart. The order of
    dealing comes from a hash of `seed` and `keys` (such as content hashes), so neither file names nor
    the order of the rows matter. Large groups are dealt first, where they can still be balanced.

    >>> import numpy as np
    >>> labels = ["cat"] * 5 + ["dog"] * 5
    >>> parts = deal(labels, np.arange(10), (0.8, 0.2), keys=list("abcdefghij"), seed=0)
    >>> np.bincount(parts).tolist()
    [8, 2]
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    counts = Counter(labels)
    wanted = [{label: share * n for label, n in counts.items()} for share in shares]
    room = [share * len(labels) for share in shares]
    parts = np.zeros(len(labels), np.intp)
    for rows in sorted(members.values(), key=lambda rows: _turn(rows, keys, seed)):
        own = [labels[row] for row in rows]
        part = max(
            range(len(shares)),
            key=lambda i: (round(sum(wanted[i][label] for label in own), 9), round(room[i], 9)),
        )
        for label in own:
            wanted[part][label] -= 1
        room[part] -= len(rows)
        parts[rows] = part
    return parts


def _turn(rows: list[int], keys: Sequence[str], seed: int) -> tuple[int, bytes]:
    name = min(keys[row] for row in rows)
    return -len(rows), hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
