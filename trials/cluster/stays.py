"""Who was signed in when? Read from the mail server's own ledger, which knows nothing of idlers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from superimap.testing.imap.server import LogEntry


@dataclass(slots=True)
class Stay:
    """A session that signed in: from when to when, and since when it waited for mail; None is not yet."""

    began: float
    idle: float | None = None
    ended: float | None = None


def stays(log: Iterable[LogEntry]) -> dict[str, list[Stay]]:
    """Each user's stays, oldest first. One ends with LOGOUT, or when the connection does."""
    signing_in: dict[int, float] = {}
    present: dict[int, Stay] = {}
    found: dict[str, list[Stay]] = defaultdict(list)
    for event in log:
        if event.name in {"LOGIN", "AUTHENTICATE"}:
            signing_in[event.session] = event.at
        elif event.username is None:
            continue
        elif event.session not in present and event.session in signing_in:
            present[event.session] = Stay(signing_in.pop(event.session))
            found[event.username].append(present[event.session])
        stay = present.get(event.session)
        if stay is None:
            continue
        if event.name == "IDLE" and stay.idle is None:
            stay.idle = event.at
        if event.name in {"LOGOUT", "disconnect"} and stay.ended is None:
            stay.ended = event.at
    return {user: sorted(each, key=lambda stay: stay.began) for user, each in found.items()}


def overlaps(all_stays: dict[str, list[Stay]], *, since: float = 0.0) -> list[str]:
    """Users who were signed in twice at once, once for each time that it happened from `since` on."""
    return [
        user
        for user, each in all_stays.items()
        for before, after in pairwise(each)
        if after.began >= since and (before.ended is None or after.began < before.ended)
    ]


def gaps(all_stays: dict[str, list[Stay]], *, since: float = 0.0) -> Iterator[float]:
    """Seconds for which a user was not watched, from the end of a stay to where the next one waits for mail."""
    for each in all_stays.values():
        for before, after in pairwise(each):
            if before.ended is not None and before.ended >= since and after.idle is not None:
                yield max(after.idle - before.ended, 0.0)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) if ordered else 0.0
