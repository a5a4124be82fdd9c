"""The path of one mail: its stages, from the mail server to the answer of the application. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from superimap.api.dashboard.words import ERRORS
from superimap.charts import bars
from superimap.db.monitoring.history import AttemptRow
from superimap.db.monitoring.messages import MessageRow
from superimap.domain.deliveries import DeliveryState


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a mail: what happened, when, after how many seconds, and how long it took."""

    name: str
    at: datetime
    after_seconds: float | None
    took_seconds: float | None
    detail: str
    tone: str
    bar: Markup


def stages(mail: MessageRow, attempts: Sequence[AttemptRow]) -> list[Stage]:
    """Return the stages in the order of time.

    The first time is the mail server's, to the second and by its own clock: what seems to lie before it took no
    time.
    """
    found: list[tuple[str, datetime, float | None, str, str]] = []
    if mail.internal_date is not None:
        found.append(("Arrived at the mail server", mail.internal_date, None, "by its own clock", "good"))
    found.append(("Recorded", mail.seen_at, None, f"{mail.mailbox}, UID {mail.uid}", "good"))
    for attempt in attempts:
        is_good = attempt.code is not None and 200 <= attempt.code < 300
        answer = f"answer {attempt.code}" if attempt.code else ERRORS.get(attempt.error or "", attempt.error)
        name = f"Attempt {attempt.number}"
        took = attempt.milliseconds / 1000
        found.append((name, attempt.started_at, took, answer or "no answer", "good" if is_good else "bad"))
    if mail.delivery is not None and mail.delivery.settled_at is not None:
        state = mail.delivery.state
        tone = "good" if state == DeliveryState.DELIVERED else "bad"
        found.append((state.capitalize(), mail.delivery.settled_at, None, "", tone))
    return _with_bars(found)


def _with_bars(found: Sequence[tuple[str, datetime, float | None, str, str]]) -> list[Stage]:
    begin = min(at for _, at, _, _, _ in found)
    ends = [(at - begin).total_seconds() + (took or 0) for _, at, took, _, _ in found]
    whole = max(ends)
    shown = []
    previous: datetime | None = None
    for (name, at, took, detail, tone), end in zip(found, ends, strict=True):
        start = (at - begin).total_seconds()
        after = None if previous is None else max(0.0, (at - previous).total_seconds())
        bar = bars.span(start, end, of=whole, label=f"{name}, {start:.1f} s after the first", tone=tone)
        shown.append(Stage(name, at, after, took, detail, tone, bar))
        previous = at
    return shown
