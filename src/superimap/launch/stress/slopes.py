"""Robust trends of samples: Theil-Sen slopes, which outliers and single steps do not move."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

MAX_SAMPLES = 240
"""Samples from which a slope is computed; more are thinned evenly, because their pairs grow with the square."""

Sample = tuple[float, float]
"""A moment in seconds and a value."""


def theil_sen(samples: Sequence[Sample]) -> float | None:
    """Return the median slope over all pairs of samples, in units per second; None without two moments.

    Up to 29 % of the samples may be arbitrarily wrong (Sen 1968).
    """
    slopes = pair_slopes(samples)
    return statistics.median(slopes) if slopes else None


def pair_slopes(samples: Sequence[Sample]) -> list[float]:
    """Return the slope of each pair of samples of different moments."""
    few = thin(samples, MAX_SAMPLES)
    return [
        (value - before) / (at - earlier)
        for place, (at, value) in enumerate(few)
        for earlier, before in few[:place]
        if at != earlier
    ]


def thin(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most this many samples, evenly spread, with the first and the last of them."""
    if len(samples) <= most:
        return list(samples)
    if most < 2:
        return list(samples[:most])
    last = len(samples) - 1
    return [samples[round(place * last / (most - 1))] for place in range(most)]


def pooled_slope(lives: Sequence[Sequence[Sample]]) -> float | None:
    """Return the median slope over the pairs within each life; pairs of different lives say nothing of growth."""
    slopes = [slope for life in lives for slope in pair_slopes(life)]
    return statistics.median(slopes) if slopes else None
