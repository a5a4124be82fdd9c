"""The path of one mail: its stages, from the mail server to the answer of the application. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from markupsafe import Markup

from superimap.api.dashboard.words import ERRORS
from superimap.charts import bars
from superimap.db.monitoring.history import AttemptRow
from superimap.db.monitoring.messages import MessageRow
from superimap.domain.deliveries import DeliveryState
from superimap.domain.mail_stages import FoundBy, MailStages

FOUND_WORDS = {
    FoundBy.ANNOUNCED: "found because the mail server announced it",
    FoundBy.POLLED: "found by asking the mail server",
    FoundBy.CATCH_UP: "found by a search, as after an outage",
    FoundBy.SWEEP: "found by a sweep of the mailbox's history",
}
MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
NO_BAR = Markup("")


@dataclass(frozen=True, slots=True)
class PathStage:
    """A stage of a mail: when it began, and how long it took, in words and as a bar within the whole.

    A stage without a duration is a moment. `seconds` is negative if the mail server's clock is ahead: such a stage
    has no bar, and neither has one that `is_off_scale`, because it says how long the mail was not looked for.
    """

    name: str
    detail: str
    at: datetime
    seconds: float | None = None
    tone: str = "good"
    is_off_scale: bool = False
    bar: Markup = NO_BAR

    @property
    def took(self) -> str:
        """The duration, exact to a millisecond."""
        if self.seconds is None:
            return ""
        if self.seconds < 0:
            return f"server clock ahead by {exact_duration(-self.seconds)}"
        return exact_duration(self.seconds)


def exact_duration(seconds: float) -> str:
    """Return a duration with its smaller parts: 29 ms, 1.812 s, 59 min 1.5 s, 2 h 3 min 5 s, 20 d 3 h 5 min."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.3f} s"
    if seconds < HOUR_SECONDS:
        tenths = min(round(seconds * 10), HOUR_SECONDS * 10 - 1)
        return f"{tenths // 600} min {tenths % 600 / 10:.1f} s"
    whole = round(seconds)
    days, hours, minutes = (
        whole // DAY_SECONDS,
        whole % DAY_SECONDS // HOUR_SECONDS,
        whole % HOUR_SECONDS // 60,
    )
    return f"{days:,} d {hours} h {minutes} min" if days else f"{hours} h {minutes} min {whole % 60} s"


def stages(mail: MessageRow, attempts: Sequence[AttemptRow]) -> list[PathStage]:
    """Return the stages in the order of time, each with its bar.

    The first begins by the mail server's clock, to the second, all others by PostgreSQL's.
    """
    times = mail.stages
    found = [*_before_recorded(mail, times)]
    if times.sending_seconds is not None:
        found.append(
            PathStage(
                "Sending",
                "until the first attempt to send the webhook",
                times.recorded_at,
                times.sending_seconds,
            )
        )
    for attempt in attempts:
        is_good = attempt.code is not None and 200 <= attempt.code < 300
        answer = f"answer {attempt.code}" if attempt.code else ERRORS.get(attempt.error or "", attempt.error)
        found.append(
            PathStage(
                f"Attempt {attempt.number}",
                answer or "no answer",
                attempt.started_at,
                attempt.milliseconds / 1000,
                "good" if is_good else "bad",
            )
        )
    if mail.delivery is not None and mail.delivery.settled_at is not None:
        state = mail.delivery.state
        tone = "good" if state == DeliveryState.DELIVERED else "bad"
        found.append(PathStage(state.capitalize(), "", mail.delivery.settled_at, tone=tone))
    return _with_bars(found)


def _before_recorded(mail: MessageRow, times: MailStages) -> list[PathStage]:
    place = f"{mail.mailbox}, UID {mail.uid}"
    found = []
    if times.received_at is not None and times.provider_seconds is not None:
        is_ahead = times.provider_seconds < 0
        is_watched = times.found_by not in (FoundBy.CATCH_UP, FoundBy.SWEEP)
        found.append(
            PathStage(
                "Provider" if is_watched or is_ahead else "Not watched, or provider",
                "from the mail server's date of the mail, a whole second, until it was found",
                times.received_at,
                times.provider_seconds,
                "warn" if is_ahead else "good",
                is_off_scale=is_ahead or not is_watched,
            )
        )
    elif times.received_at is not None:
        found.append(PathStage("Received", "by the mail server's clock", times.received_at))
    if times.found_at is not None and times.found_by is not None:
        detail = f"{FOUND_WORDS[times.found_by]}; until it was recorded"
        found.append(PathStage("Recording", detail, times.found_at, times.recording_seconds))
    return [*found, PathStage("Recorded", place, times.recorded_at)]


def _with_bars(found: Sequence[PathStage]) -> list[PathStage]:
    """Add the bars. Those off the scale have none; without them the scale begins with the next stage."""
    drawn = [stage for stage in found if not stage.is_off_scale]
    begin = min(stage.at for stage in drawn)
    whole = max((_end(stage) - begin).total_seconds() for stage in drawn)
    shown = []
    for stage in found:
        if stage.is_off_scale:
            shown.append(stage)
            continue
        start, end = (stage.at - begin).total_seconds(), (_end(stage) - begin).total_seconds()
        label = f"{stage.name}, {start:.3f} s after the first, {end - start:.3f} s long"
        shown.append(replace(stage, bar=bars.span(start, end, of=whole, label=label, tone=stage.tone)))
    return shown


def _end(stage: PathStage) -> datetime:
    return stage.at + timedelta(seconds=stage.seconds or 0)
