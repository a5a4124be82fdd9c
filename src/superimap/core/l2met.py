"""Metric lines with the names of the original SuperIMAP, for log drains that read l2met (`METRIC_LINES`).

`LINES` and `NEVER_SENT` together are all names that the original printed; docs/operations.md repeats them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry

Labels = frozenset[tuple[str, str]]
Snapshot = Mapping[str, Mapping[Labels, float]]
"""Values of all samples, by name and labels."""

IDLER = "idler"
DISPATCHER = "dispatcher"
EVERYTHING = "up"
"""The process of `superimap up`, which prints every line."""
MAX_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class MetricLine:
    """A name of the original, and where its value comes from.

    `measure` and `sample` are the present value of a metric, `count` is its growth since the last lines, which is
    left out if it is 0. `labels` are the values that count for each label. `processes` print the line.
    """

    name: str
    mode: Literal["measure", "sample", "count"]
    metric: str
    meaning: str
    processes: Collection[str]
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def sample_name(self) -> str:
        """The name of the metric's samples."""
        return self.metric if self.mode == "measure" else f"{self.metric}_total"


def _mails(name: str, *outcomes: str, meaning: str) -> MetricLine:
    found = {"outcome": outcomes}
    return MetricLine(f"system.process_uid.{name}", "count", "superimap_messages", meaning, (IDLER,), found)


def _webhooks(kind: str) -> MetricLine:
    name, meaning = f"app.call_{kind}_webhook.count", f"Attempts to send a webhook `{kind}`"
    return MetricLine(name, "count", "superimap_attempts", meaning, (DISPATCHER,), {"kind": (kind,)})


LINES = (
    MetricLine(
        "imap_client.user_thread.count",
        "measure",
        "superimap_sessions",
        "IMAP sessions of the idler, in any state; they are not threads",
        (IDLER,),
    ),
    MetricLine(
        "work_queue.latency",
        "measure",
        "superimap_loop_lag_seconds",
        "Seconds that work waited for its turn at most: the event loop has the place of the work queues",
        (IDLER,),
    ),
    MetricLine(
        "imap_client.total_emails_processed",
        "sample",
        "superimap_messages",
        "Mails since the start of the process that got a webhook, or would have if the partner had a URL",
        (IDLER,),
        {"outcome": ("delivered", "no_webhook")},
    ),
    _mails(
        "pre_creation_internal_date", "before_connect", meaning="Mails from before the user was connected"
    ),
    _mails("big_message", "too_big", meaning="Mails larger than `MAX_EMAIL_SIZE`"),
    _mails("uid_fetch_no_response", "gone", "unreadable", meaning="Mails that the server did not hand over"),
    _mails("duplicate_message_id", "duplicate", meaning="Mails that the user already had, by whatever sign"),
    _webhooks("new_mail"),
    _webhooks("user_connected"),
    _webhooks("user_disconnected"),
    MetricLine(
        "app.schedule_tracer_email.count",
        "count",
        "superimap_tracers",
        "Tracers sent",
        (IDLER,),
        {"result": ("sent",)},
    ),
)
ERRORS = MetricLine(
    "error.<Class>", "count", "superimap_errors", "Errors in the log, by class of Python", (), {"error": ()}
)
"""One line for each class; every process prints it."""

NEVER_SENT = {
    "imap_client.thread.count": "There is no thread for each mailbox",
    "imap_client.work_queue.length": "There are no work queues; `superimap_owed` counts what is to be sent",
    "user_thread.delayed_start": "Pauses before a login are in the database, as `retry_at` of the user",
    "system.process_uid.really_old_internal_date": "Old mail does not reset the cursor",
    "system.process_uid.relapsed_internal_date": "The order of dates decides nothing; mails are found by UID",
    "system.process_uid.fix_suspicious_internal_date": "Dates in the future are kept as they are",
    "system.process_uid.duplicate_sha1": "Counted as `system.process_uid.duplicate_message_id`",
}
"""Names that are not printed, and why."""


def take_snapshot(registry: CollectorRegistry) -> Snapshot:
    """Return the present values of our metrics."""
    found: dict[str, dict[Labels, float]] = {}
    for family in registry.collect():
        if family.name.startswith("superimap_") and family.type in {"gauge", "counter"}:
            for sample in family.samples:
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def metric_lines(before: Snapshot, now: Snapshot, *, process: str, source: str) -> list[str]:
    """Return the lines of a process for the time between two snapshots."""
    lines = []
    for line in LINES:
        if process in (*line.processes, EVERYTHING):
            value = _sum(now, line)
            if line.mode == "count":
                value -= _sum(before, line)
                if value <= 0:
                    continue
            lines.append(_format(line.mode, line.name, value, source))
    return lines + [_format(ERRORS.mode, name, value, source) for name, value in _errors(before, now)]


def _sum(values: Snapshot, line: MetricLine) -> float:
    samples = values.get(line.sample_name, {})
    return sum(value for labels, value in samples.items() if _counts(dict(labels), line))


def _counts(labels: Mapping[str, str], line: MetricLine) -> bool:
    return all(labels.get(name) in values for name, values in line.labels.items())


def _errors(before: Snapshot, now: Snapshot) -> Iterator[tuple[str, float]]:
    known = before.get(ERRORS.sample_name, {})
    for labels, value in sorted(now.get(ERRORS.sample_name, {}).items(), key=lambda each: sorted(each[0])):
        if (growth := value - known.get(labels, 0.0)) > 0:
            yield f"error.{dict(labels)['error']}", growth


def _format(mode: str, name: str, value: float, source: str) -> str:
    number = int(value) if value == int(value) else round(value, MAX_DECIMALS)
    return f"source={source} {mode}#{name}={number}"
