"""Times at which users were signed in, from the log of the mail server, which knows nothing of idlers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from superimap.testing.imap.server import LogEntry


@dataclass(slots=True)
class SessionSpan:
    """The times at which a session signed in, first idled and ended; None if that has not happened."""

    began: float
    idle: float | None = None
    ended: float | None = None


def session_spans(log: Iterable[LogEntry]) -> dict[str, list[SessionSpan]]:
    """The spans of each user, oldest first. A span ends with LOGOUT or with the connection."""
    signing_in: dict[int, float] = {}
    present: dict[int, SessionSpan] = {}
    found: dict[str, list[SessionSpan]] = defaultdict(list)
    for event in log:
        if event.name in {"LOGIN", "AUTHENTICATE"}:
            signing_in[event.session] = event.at
        elif event.username is None:
            continue
        elif event.session not in present and event.session in signing_in:
            present[event.session] = SessionSpan(signing_in.pop(event.session))
            found[event.username].append(present[event.session])
        span = present.get(event.session)
        if span is None:
            continue
        if event.name == "IDLE" and span.idle is None:
            span.idle = event.at
        if event.name in {"LOGOUT", "disconnect"} and span.ended is None:
            span.ended = event.at
    return {user: sorted(each, key=lambda span: span.began) for user, each in found.items()}


def overlaps(spans: dict[str, list[SessionSpan]], *, since: float = 0.0) -> list[str]:
    """Users who were signed in twice at the same time, one entry for each occurrence from `since` on."""
    return [
        user
        for user, each in spans.items()
        for before, after in pairwise(each)
        if after.began >= since and (before.ended is None or after.began < before.ended)
    ]


def gaps(spans: dict[str, list[SessionSpan]], *, since: float = 0.0) -> Iterator[float]:
    """Seconds for which a user was not watched, from the end of a span until the next one idles."""
    for each in spans.values():
        for before, after in pairwise(each):
            if before.ended is not None and before.ended >= since and after.idle is not None:
                yield max(after.idle - before.ended, 0.0)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 for an empty list."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) if ordered else 0.0
