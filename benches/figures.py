"""Percentiles, and numbers as people read them."""
from __future__ import annotations

import math
from typing import Iterable, List, Sequence


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that is not exceeded by `share` of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    return percentile(values, 0.5)


def ms(micros: float) -> str:
    value = micros / 1000
    return "%.0f" % value if value >= 100 else "%.1f" % value if value >= 10 else "%.2f" % value


def megabytes(size: float) -> str:
    return "%.2f" % (size / 1e6)


def mebibytes(size: float) -> str:
    return "%.1f" % (size / 2**20)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """A table: the first column is text, the others are figures."""
    lines = ["| %s |" % " | ".join(columns), "|---|%s" % ("---:|" * (len(columns) - 1))]
    return lines + ["| %s |" % " | ".join(row) for row in rows]
