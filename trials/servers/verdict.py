"""What became of the mails of a trial: compared with the webhooks, and with what another client reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from superimap.testing import Received, verify_body_signature, verify_standard
from trials.faults.oracle import PartnerKeys, percentile
from trials.servers.post import Sent, message_id, normal

Webhooks: TypeAlias = Mapping[str, list[Received]]
"""Webhooks by Message-ID; those of one webhook-id count once."""


@dataclass(frozen=True)
class FinalMailbox:
    """A watched folder as another client sees it: mails by Message-ID, and the number marked as read."""

    contents: Mapping[str, bytes]
    seen: int


def by_message_id(received: list[Received]) -> Webhooks:
    """The webhooks of each mail."""
    first = {each.headers["webhook-id"]: each for each in reversed(received)}
    found: dict[str, list[Received]] = defaultdict(list)
    for each in first.values():
        found[message_id(each.json["rfc822"].encode())].append(each)
    return found


def latencies(sent: Mapping[str, Sent], webhooks: Webhooks) -> dict[str, float]:
    """Milliseconds from the mailbox to the webhook: median and maximum of each phase."""
    waits: dict[str, list[float]] = defaultdict(list)
    for id_, mail in sent.items():
        if id_ in webhooks:
            waits[mail.phase].append(_wait(mail, webhooks[id_]) * 1000)
    return {
        f"{phase}_{name}_ms": percentile(sorted(values), percent)
        for phase, values in waits.items()
        for name, percent in (("p50", 50), ("max", 100))
    }


def broken_guarantees(
    sent: Mapping[str, Sent], webhooks: Webhooks, keys: PartnerKeys, *, most_seconds_late: float
) -> list[str]:
    """Sentences about mails without a webhook or with several, wrong webhooks, and mails that came late."""
    lost = Counter(
        f"{mail.phase}/{mail.way}/{mail.user}" for id_, mail in sent.items() if id_ not in webhooks
    )
    twice = sorted(id_ for id_, found in webhooks.items() if len(found) > 1)
    wrong = sorted(
        id_
        for id_, found in webhooks.items()
        if not all(_is_right(each, sent.get(id_), keys) for each in found)
    )
    late = [
        id_
        for id_, mail in sent.items()
        if mail.phase == "idle" and id_ in webhooks and _wait(mail, webhooks[id_]) > most_seconds_late
    ]
    return [
        *([f"{lost.total()} mails without a webhook: {dict(lost)}"] if lost else []),
        *([f"{len(twice)} mails with several webhooks: {twice[:10]}"] if twice else []),
        *([f"{len(wrong)} webhooks for no mail, or of the wrong user: {wrong[:10]}"] if wrong else []),
        *([f"{len(late)} mails came later than {most_seconds_late:g} s"] if late else []),
    ]


def broken_mailboxes(states: Mapping[str, FinalMailbox], webhooks: Webhooks) -> list[str]:
    """Sentences about mails marked as read, and webhooks with other bytes than the mail, by user."""
    broken = [
        f"{state.seen} mails of {user} are marked as read" for user, state in states.items() if state.seen
    ]
    other = [
        id_
        for state in states.values()
        for id_, raw in state.contents.items()
        if any(normal(each.json["rfc822"].encode()) != raw for each in webhooks.get(id_, []))
    ]
    return [
        *broken,
        *([f"{len(other)} webhooks with other bytes than the mail: {other[:10]}"] if other else []),
    ]


def _wait(mail: Sent, found: list[Received]) -> float:
    return min(each.wall for each in found) - mail.at


def _is_right(webhook: Received, mail: Sent | None, keys: PartnerKeys) -> bool:
    """Whether the webhook is of a mail that was sent, of the right user, with valid signatures."""
    return (
        mail is not None
        and mail.user == webhook.json["user_tag"]
        and verify_body_signature(webhook.json, keys.api_key)
        and verify_standard(webhook.headers, webhook.body, keys.secret)
    )
