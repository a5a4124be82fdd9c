"""Metric lines with the names of the original: two snapshots of the metrics become lines."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from superimap.core import metrics
from superimap.core.l2met import ERRORS, LINES, NEVER_SENT, MetricLine, metric_lines, take_snapshot
from superimap.domain.events import EventKind
from superimap.domain.mails import MailOutcome
from superimap.domain.tracers import TracerVerdict

# Item 71 of the behaviour of the original: every name that it printed.
ORIGINAL = {
    "imap_client.thread.count", "imap_client.work_queue.length", "imap_client.user_thread.count",
    "work_queue.latency", "user_thread.delayed_start", "imap_client.total_emails_processed", "error.<Class>",
    "system.process_uid.really_old_internal_date", "system.process_uid.pre_creation_internal_date",
    "system.process_uid.relapsed_internal_date", "system.process_uid.big_message",
    "system.process_uid.uid_fetch_no_response", "system.process_uid.fix_suspicious_internal_date",
    "system.process_uid.duplicate_message_id", "system.process_uid.duplicate_sha1",
    "app.call_new_mail_webhook.count", "app.call_user_connected_webhook.count",
    "app.call_user_disconnected_webhook.count", "app.schedule_tracer_email.count",
}  # fmt: skip


class Process:
    """The metrics of a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("superimap_sessions", "…", registry=self.registry)
        self.lag = Gauge("superimap_loop_lag_seconds", "…", registry=self.registry)
        self.messages = Counter("superimap_messages", "…", ["outcome"], registry=self.registry)
        self.attempts = Counter("superimap_attempts", "…", ["outcome", "kind"], registry=self.registry)
        self.errors = Counter("superimap_errors", "…", ["error"], registry=self.registry)
        self.before = take_snapshot(self.registry)

    def lines(self, process: str) -> list[str]:
        """The lines since the last call."""
        now = take_snapshot(self.registry)
        before, self.before = self.before, now
        return metric_lines(before, now, process=process, source="worker.1")


def test_measures_are_values_and_counts_are_what_has_come_since_the_last_lines():
    idler = Process()
    idler.sessions.set(12)
    idler.lag.set(0.01234)
    idler.messages.labels("delivered").inc(5)
    idler.messages.labels("no_webhook").inc()
    idler.messages.labels("gone").inc(2)
    idler.messages.labels("unreadable").inc()
    idler.messages.labels("own_mail").inc()
    idler.errors.labels("TimedOut").inc(3)

    first = idler.lines("idler")
    idler.sessions.set(11)
    idler.messages.labels("delivered").inc()

    assert first == [
        "source=worker.1 measure#imap_client.user_thread.count=12",
        "source=worker.1 measure#work_queue.latency=0.012",
        "source=worker.1 sample#imap_client.total_emails_processed=6",
        "source=worker.1 count#system.process_uid.uid_fetch_no_response=3",
        "source=worker.1 count#error.TimedOut=3",
    ]
    assert idler.lines("idler") == [
        "source=worker.1 measure#imap_client.user_thread.count=11",
        "source=worker.1 measure#work_queue.latency=0.012",
        "source=worker.1 sample#imap_client.total_emails_processed=7",
    ]


def test_a_process_prints_what_it_does_itself():
    dispatcher, everything, api = Process(), Process(), Process()
    for each in (dispatcher, everything, api):
        each.attempts.labels("retry", "new_mail").inc()
        each.attempts.labels("delivered", "new_mail").inc()
        each.attempts.labels("delivered", "events").inc()
        each.errors.labels("OSError").inc()

    assert dispatcher.lines("dispatcher") == [
        "source=worker.1 count#app.call_new_mail_webhook.count=2",
        "source=worker.1 count#error.OSError=1",
    ]
    assert len(everything.lines("up")) == 5
    assert api.lines("api") == ["source=worker.1 count#error.OSError=1"]


def test_large_numbers_are_written_in_full():
    idler = Process()
    idler.messages.labels("delivered").inc(12_345_678)

    assert "source=worker.1 sample#imap_client.total_emails_processed=12345678" in idler.lines("idler")


def test_each_name_of_the_original_is_printed_or_explained():
    assert sorted([*(line.name for line in (*LINES, ERRORS)), *NEVER_SENT]) == sorted(ORIGINAL)


def test_lines_use_metrics_labels_and_values_that_exist():
    known = {
        each._name: set(each._labelnames) for each in vars(metrics).values() if hasattr(each, "_labelnames")
    }
    values = {
        "superimap_messages": {each.value for each in MailOutcome},
        "superimap_attempts": {each.value for each in EventKind},
        "superimap_tracers": {"sent", *(each.value for each in TracerVerdict)},
    }

    def is_known(line: MetricLine) -> bool:
        found = {value for given in line.labels.values() for value in given}
        return line.labels.keys() <= known[line.metric] and found <= values.get(line.metric, found)

    assert [line.name for line in (*LINES, ERRORS) if not is_known(line)] == []
