"""Sentences about deliveries, attempts and endpoints, for people who do not know the states of the tables."""

from datetime import datetime
from http import HTTPStatus

from superimap.api.dashboard.delay_words import delay_words
from superimap.api.dashboard.render import duration
from superimap.api.dashboard.words import Word
from superimap.db.models import Endpoint
from superimap.db.monitoring.delivery_details import DeliveryDetails
from superimap.db.monitoring.messages import DISABLED_REASONS
from superimap.db.monitoring.partner_overview import Waiting
from superimap.domain.answers import is_success
from superimap.domain.deliveries import Breaker, DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.webhook_delays import DelayCause, DelayJudgement

KINDS = {
    EventKind.NEW_MAIL: "New mail",
    EventKind.USER_CONNECTED: "Mailbox connected",
    EventKind.USER_DISCONNECTED: "Mailbox disconnected",
    EventKind.EVENTS: "Event",
}
ERRORS = {
    "timeout": "no answer in time",
    "dns": "the host name was not found",
    "connect": "no connection to the server",
    "certificate_expired": "the certificate has expired",
    "certificate_host": "the certificate is for another name",
    "certificate_untrusted": "the issuer of the certificate is unknown",
    "tls": "the encryption could not be agreed on",
    "closed": "the server closed the connection",
    "protocol": "the answer was no valid HTTP",
    "url": "the URL is not valid",
    "egress_blocked": "the URL leads to a private address or a forbidden port",
    "no_url": "the URL was removed",
    "unsigned": "not sent: the partner has no key to sign with",
    "unknown_key": "not sent: the encryption key of the content is missing",
    "content_unavailable": "not sent: the object store does not hand the content over",
    "unreadable": "not sent: the content cannot be decrypted",
}


def answer_words(code: int | None, error: str | None) -> Word:
    """Return what came of an attempt: the status with its name, or why there was none."""
    if code is None:
        return Word(ERRORS.get(error or "", error or "no answer"), "bad" if error else "")
    name = HTTPStatus(code).phrase if code in set(HTTPStatus) else ""
    rest = f" ({ERRORS.get(error, error)})" if error else ""
    return Word(f"{code} {name}".strip() + rest, "good" if is_success(code) else "bad")


def delivery_headline(seen: DeliveryDetails) -> Word:
    """Return the state of a delivery as a sentence."""
    row = seen.row
    last = answer_words(row.last_code, row.last_error).text
    tries = f"{row.attempts} {'attempt' if row.attempts == 1 else 'attempts'}"
    match row.state:
        case DeliveryState.DELIVERED:
            return Word(f"Delivered after {tries}: their server answered {last}.", "good")
        case DeliveryState.SENDING:
            return Word("It is being sent at this moment.", "warn")
        case DeliveryState.CANCELLED if row.last_error == "no_url":
            return Word("Cancelled, because the URL was removed before it was sent.", "bad")
        case DeliveryState.CANCELLED:
            return Word(f"Cancelled by a person or an application, after {tries}.")
        case DeliveryState.FAILED:
            kept = "" if row.has_content else " Its content is erased, so it cannot be replayed."
            return Word(f"Failed for good after {tries}; the last one: {last}.{kept}", "bad")
        case _:
            return Word(_wait(seen, last, tries), "warn")


def _wait(seen: DeliveryDetails, last: str, tries: str) -> str:
    endpoint, row = seen.endpoint, seen.row
    so_far = f"{tries}, the last one: {last}." if row.attempts else "There was no attempt yet."
    if endpoint.disabled_at is not None:
        return f"Waiting: the endpoint is disabled, because {disabled_because(endpoint)}. {so_far}"
    if endpoint.probe_at is not None and endpoint.probe_at > seen.now:
        pause = duration((endpoint.probe_at - seen.now).total_seconds())
        return f"Waiting: the endpoint fails, and is tried again in {pause}. {so_far}"
    due = row.next_attempt_at
    if due is not None and due > seen.now:
        return f"Waiting for the next attempt in {duration((due - seen.now).total_seconds())}. {so_far}"
    if endpoint.breaker != Breaker.CLOSED:
        return f"Waiting: the endpoint failed, and takes few webhooks at once for now. {so_far}"
    return f"Waiting to be sent now. {so_far}"


def disabled_because(endpoint: Endpoint) -> str:
    """Return why an endpoint is disabled, as the rest of a sentence."""
    reason = endpoint.disabled_reason or ""
    return DISABLED_REASONS.get(reason, reason or "an operator disabled it")


def endpoint_state(endpoint: Endpoint | None) -> Word:
    """Return the state of an endpoint in a word or two."""
    if endpoint is None or endpoint.url is None:
        return Word("no URL")
    if endpoint.disabled_at is not None:
        return Word("disabled", "bad")
    match endpoint.breaker:
        case Breaker.OPEN:
            return Word("failing", "bad")
        case Breaker.SLOW_START:
            return Word("recovering", "warn")
    return Word("some attempts fail", "warn") if endpoint.failures else Word("working", "good")


def waiting_state(endpoint: Endpoint, waiting: Waiting) -> Word:
    """Return the state of an endpoint in a word or two, also by the webhooks that wait for it."""
    state = endpoint_state(endpoint)
    return Word("not all accepted", "warn") if state.tone == "good" and waiting.are_tried else state


def judged_state(endpoint: Endpoint, verdict: Word, judged: DelayJudgement) -> Word:
    """Return the state of an endpoint in a word or two, which does not contradict the verdict on it."""
    state = endpoint_state(endpoint)
    if state.tone != "good" or verdict.tone not in {"warn", "bad"}:
        return state
    return Word("refuses webhooks" if judged.cause is DelayCause.NONE else "slow", verdict.tone)


def endpoint_headline(endpoint: Endpoint, now: datetime, judged: DelayJudgement) -> Word:
    """Return the verdict on an endpoint as a sentence. `judged` are its latest webhooks."""
    if endpoint.url is None:
        return Word("There is no URL, so no webhooks of this kind are made.")
    if endpoint.disabled_at is not None:
        because = disabled_because(endpoint)
        return Word(f"Disabled, because {because}. Webhooks wait until it is enabled.", "bad")
    match endpoint.breaker:
        case Breaker.OPEN:
            text = "It fails. One webhook at a time is tried"
            if endpoint.probe_at is not None and endpoint.probe_at > now:
                text += f", the next in {duration((endpoint.probe_at - now).total_seconds())}"
            return Word(f"{text}; the others wait.", "bad")
        case Breaker.SLOW_START:
            most = endpoint.width or 1
            some = "one webhook" if most == 1 else f"{most} webhooks"
            return Word(f"It answers again. At most {some} at once, one more with each success.", "warn")
    return _health(endpoint, judged)


def _health(endpoint: Endpoint, judged: DelayJudgement) -> Word:
    if endpoint.failures:
        some = "attempt" if endpoint.failures == 1 else f"{endpoint.failures} attempts"
        return Word(f"It takes webhooks, but the last {some} failed.", "warn")
    return delay_words(judged)
