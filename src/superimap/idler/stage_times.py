"""Histograms of the stages of mails: the delay of the provider, and the time until they are recorded."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import Histogram

from superimap.core import metrics
from superimap.core.metric_labels import ProviderLabels
from superimap.db.watching.intake import MailRow
from superimap.domain.mail_stages import MAX_PROVIDER_SECONDS, Sighting
from superimap.domain.mails import MailOutcome

_UNREAD = frozenset({MailOutcome.DEFERRED, MailOutcome.GONE})


class StageTimes:
    """The histograms of each provider."""

    __slots__ = ("_children", "_labels")

    def __init__(self) -> None:
        self._labels = ProviderLabels()
        self._children: dict[str, tuple[Histogram, Histogram]] = {}

    def observe(self, provider: str, rows: Sequence[MailRow], sightings: Sequence[Sighting | None]) -> None:
        """Count mails that were recorded just now, if a session that watched their mailbox found them.

        A mail that seems to be found before the server received it has no delay: the server's clock is ahead. One
        that is older than MAX_PROVIDER_SECONDS was moved or imported, and has none either.
        """
        label = self._labels.of(provider)
        delays, recordings = self._children.get(label) or self._add(label)
        monotonic, now = time.monotonic(), datetime.now(UTC)
        for row, sighting in zip(rows, sightings, strict=True):
            if sighting is None or not sighting.is_watched or row.outcome in _UNREAD:
                continue
            waited = monotonic - sighting.at
            recordings.observe(waited)
            if row.internal_date is None:
                continue
            delay = (now - row.internal_date).total_seconds() - waited
            if delay < 0:
                metrics.MAILS_AHEAD.labels(label).inc()
            elif delay <= MAX_PROVIDER_SECONDS:
                delays.observe(delay)

    def _add(self, label: str) -> tuple[Histogram, Histogram]:
        seconds = metrics.MAIL_SECONDS
        made = seconds.labels("provider", label), seconds.labels("recording", label)
        self._children[label] = made
        return made


STAGE_TIMES = StageTimes()
"""Of this process, as its metrics are."""
