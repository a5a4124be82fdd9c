"""Causes: what several problems share, how they are called, and the first step against them. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from superimap.domain.users import UserStatus

LATE_SECONDS = 60
"""After which a webhook that is due is late."""
MAX_REASONS = 3
MAX_NAMED = 2
"""Causes that the headline names."""

TITLES = {
    UserStatus.AUTHENTICATION_FAILED: "{provider} refuses the sign-in of {mailboxes}",
    UserStatus.BACKING_OFF: "Sessions with {provider} fail for {mailboxes}",
    UserStatus.THROTTLED: "{provider} asks for a pause for {mailboxes}",
    UserStatus.SUSPENDED: "{provider} sends more than a mail server may for {mailboxes}",
    UserStatus.STALLED: "{provider} has not answered for {mailboxes}",
}
SHORT = {
    UserStatus.AUTHENTICATION_FAILED: "{users:,} must sign in again at {provider}",
    UserStatus.BACKING_OFF: "sessions with {provider} fail for {users:,}",
    UserStatus.THROTTLED: "{provider} asks for a pause for {users:,}",
    UserStatus.SUSPENDED: "{provider} sends too much for {users:,}",
    UserStatus.STALLED: "{provider} has not answered for {users:,}",
}
"""The same within the headline."""
STEPS = {
    UserStatus.AUTHENTICATION_FAILED: "Send these people a connect link: each must sign in again. If it is all "
    "users of a connection with OAuth 2.0, its client is wrong or expired: replace it.",
    UserStatus.BACKING_OFF: "Read what the servers said. If they cannot be reached, see what the provider "
    "reports, and connect to its server from a machine that runs an idler. The sessions are tried again by "
    "themselves, with growing pauses.",
    UserStatus.THROTTLED: "Wait: the sessions are tried again at the time that the server gave. If it lasts, "
    "lower the provider's logins per second.",
    UserStatus.SUSPENDED: "These sessions are paused, ever longer. Look at a mailbox, and write to those who run "
    "the server.",
    UserStatus.STALLED: "Look at the cluster: an idler may be full or silent. If none is, test the mail server.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTrouble:
    """Users of one connection in one status: `recent` came within the last hour, `user_id` came last.

    `reasons` are those of the latest users, each with their number.
    """

    status: str
    connection_id: int
    partner_id: int
    partner: str
    provider: str
    provider_title: str
    users: int
    recent: int
    first_since: datetime
    last_since: datetime
    user_id: int
    reasons: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTrouble:
    """An endpoint that fails, is disabled or has late deliveries; `deliveries` are due, the first at `due_at`."""

    id: int
    kind: str
    partner_id: int
    partner: str
    breaker: str
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    due_at: datetime | None = None
    deliveries: int = 0
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Problems that share something. `scope` is what they share: a provider, a connection or an endpoint.

    `is_grave` says that mail is late or not seen. `link` is the page of the first step, and the id of its object.
    """

    title: str
    short: str = ""
    since: datetime | None
    users: int
    is_grave: bool
    step: str
    scope: str
    link: tuple[str, int]
    reasons: tuple[tuple[str, int], ...] = ()
    troubles: tuple[UserTrouble, ...] = ()


def group_users(troubles: Iterable[UserTrouble]) -> list[Cause]:
    """Return a cause for each status of a provider, or of a connection if it alone has the status."""
    groups: dict[tuple[str, str], list[UserTrouble]] = {}
    for each in troubles:
        groups.setdefault((each.status, each.provider), []).append(each)
    causes = [_user_cause(status, members) for (status, _), members in groups.items()]
    return sorted(causes, key=lambda cause: -cause.users)


def _user_cause(status: str, members: Sequence[UserTrouble]) -> Cause:
    first = members[0]
    users = sum(each.users for each in members)
    is_of_one = len(members) == 1
    mailboxes = f"{users:,} mailbox{'' if users == 1 else 'es'}{f' of {first.partner}' if is_of_one else ''}"
    reasons = Counter[str]()
    for each in members:
        reasons.update(dict(each.reasons))
    return Cause(
        title=TITLES[UserStatus(status)].format(provider=first.provider, mailboxes=mailboxes),
        short=SHORT[UserStatus(status)].format(provider=first.provider, users=users),
        since=min(each.first_since for each in members),
        users=users,
        is_grave=True,
        step=STEPS[UserStatus(status)],
        scope="connection" if is_of_one else "provider",
        link=("mailbox", first.user_id) if users == 1 else ("connection", first.connection_id),
        reasons=tuple((reason, count) for reason, count in reasons.most_common(MAX_REASONS) if reason),
        troubles=tuple(members),
    )


def endpoint_causes(troubles: Iterable[EndpointTrouble]) -> list[Cause]:
    """Return a cause for each endpoint, those with the most late deliveries first."""
    ordered = sorted(troubles, key=lambda each: (-each.deliveries, each.id))
    return [_endpoint_cause(each) for each in ordered]


def _endpoint_cause(each: EndpointTrouble) -> Cause:
    name = f"The {each.kind} endpoint of {each.partner}"
    if each.disabled_at is not None:
        why = "answered 410" if each.disabled_reason == "gone" else "failed for days"
        title = f"{name} is disabled: it {why}"
        step = "Ask the partner, correct the URL, and enable the endpoint. What is pending is sent then."
        since: datetime | None = each.disabled_at
    elif each.failing_since is not None:
        title, since = f"{name} fails", each.failing_since
        step = "Look at its last answers. It is tried again by itself; nothing is lost meanwhile."
    else:
        title, since = f"Webhooks to the {each.kind} endpoint of {each.partner} are late", each.due_at
        step = "Look at the cluster: a dispatcher may be missing, or too slow for this endpoint."
    return Cause(
        title=title,
        since=since,
        users=0,
        is_grave=each.is_late or each.disabled_at is not None,
        step=step,
        scope="endpoint",
        link=("endpoint", each.id),
    )


def headline(
    *, wanted: int, unserved: int, users: Sequence[Cause], endpoints: Iterable[EndpointTrouble]
) -> str:
    """Return one sentence: how many mailboxes are not watched and why, and whether a webhook is late or held."""
    late = [each for each in endpoints if each.is_late]
    held = sum(each.disabled_at is not None for each in late)
    webhooks = [
        f"webhooks to {_count(count, noun)} {what}"
        for count, noun, what in (
            (len(late) - held, "endpoint", "are late"),
            (held, "disabled endpoint", "wait"),
        )
        if count
    ]
    watching = _watching(wanted, unserved, users)
    return f"{watching}; {' and '.join(webhooks) or 'no webhook has been due for more than a minute'}."


def _watching(wanted: int, unserved: int, users: Sequence[Cause]) -> str:
    unwatched = min(wanted, unserved + sum(cause.users for cause in users))
    if not wanted:
        return "No mailbox is connected yet"
    if not unwatched:
        return "The mailbox is watched" if wanted == 1 else f"All {wanted:,} mailboxes are watched"
    named = [f"{unserved:,} have no idler"] if unserved else []
    named += [cause.short for cause in users]
    why = ", ".join(named[:MAX_NAMED]) + (", and more" if len(named) > MAX_NAMED else "")
    return (
        f"{unwatched:,} of {_count(wanted, 'mailbox')} {'is' if unwatched == 1 else 'are'} not watched: {why}"
    )


def _count(count: int, noun: str) -> str:
    plural = "es" if noun.endswith("x") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"
