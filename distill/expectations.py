"""Orders that a study expects of its variants, such as "D0-S < D1" or, with a margin, "100 without + 15 < 100 with"."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

_MARGIN = re.compile(r"(?P<name>.*\S)\s*\+\s*(?P<margin>\d+(\.\d+)?)")


def expected_pairs(order: str, names: Collection[str]) -> list[tuple[str, float, str]]:
    """The order as pairs of neighbours: "a + 2 < b < c" gives [("a", 2.0, "b"), ("b", 0.0, "c")].

    The number is the margin: by more than so many points of F1 the right variant is to lead. Names may themselves
    contain "+": what is a variant's whole name is never taken apart.

    :raises ValueError: if it is no order of variants of these names.
    """
    sides = [side.strip() for side in order.split("<")]
    if len(sides) < 2:
        raise ValueError(f"expect wants orders such as 'a < b' or 'a + 2 < b', got {order!r}")
    found: list[tuple[str, float]] = []
    for at, side in enumerate(sides):
        name, margin = side, 0.0
        if side not in names and at < len(sides) - 1 and (parts := _MARGIN.fullmatch(side)):
            name, margin = parts["name"], float(parts["margin"])
        if name not in names:
            raise ValueError(f"expect names {name!r}, which is no variant; there are {list(names)}")
        found.append((name, margin))
    return [(low, margin, high) for (low, margin), (high, _) in pairwise(found)]
