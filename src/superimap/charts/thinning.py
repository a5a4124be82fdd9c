"""Thinning of points: as many as a drawing can show, without the loss of what stands out."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]

OUTLIER_SHARE = 0.5
"""Share of the dots that are kept because they are the highest."""


def thin_line(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` points of a line: both ends, and the lowest and highest of each stretch."""
    if len(points) <= most or most < 4:
        return list(points[:most]) if most < 4 else list(points)
    stretches = (most - 2) // 2
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[len(inner) * number // stretches : len(inner) * (number + 1) // stretches]
        if stretch:
            lowest = min(range(len(stretch)), key=lambda place: stretch[place][1])
            highest = max(range(len(stretch)), key=lambda place: stretch[place][1])
            kept += [stretch[place] for place in sorted({lowest, highest})]
    return [*kept, points[-1]]


def thin_dots(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` dots in their order: the highest ones all, and the others evenly spread."""
    if len(points) <= most:
        return list(points)
    order = sorted(range(len(points)), key=lambda place: points[place][1], reverse=True)
    highest = set(order[: int(most * OUTLIER_SHARE)])
    others = [place for place in range(len(points)) if place not in highest]
    room = most - len(highest)
    spread = {others[len(others) * number // room] for number in range(room)}
    return [points[place] for place in sorted(highest | spread)]
