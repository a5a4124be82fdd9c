"""Effects of faults: which mails a fault delayed, and when its effect was over."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from superimap.launch.stress.records import FaultRecord, MailRecord

CHAIN_GAP_SECONDS = 1.0
"""Longest gap between a late mail's acceptance and the next late mail that belongs to the same fault."""

STRIKE, WATCHED = "chaos", "watched"

MailboxEvent = tuple[float, int, str, str]
"""Time, user, STRIKE or WATCHED, and the kind of the strike."""


def mailbox_faults(events: Iterable[MailboxEvent]) -> list[FaultRecord]:
    """Return an episode for each mailbox and time from its first strike until it is watched again.

    Further strikes before that belong to the episode, which is named after the last one; its recovery counts from
    that one.
    """
    running: dict[int, FaultRecord] = {}
    faults: list[FaultRecord] = []
    for at, user, what, kind in sorted(events):
        fault = running.get(user)
        if what == WATCHED:
            if fault is not None:
                fault.recovered = at
                del running[user]
        elif fault is None:
            running[user] = FaultRecord(kind, "mailbox", at, at, user=user)
            faults.append(running[user])
        else:
            fault.end, fault.kind = at, kind
    return faults


def refused_posts(mails: Iterable[MailRecord]) -> list[FaultRecord]:
    """Return a fault for each mail whose POST was refused: until a later one is accepted."""
    return [
        FaultRecord(
            "refused POST",
            "webhook",
            min(mail.refused),
            max(mail.refused),
            user=mail.user,
            recovered=min(mail.accepted, default=None),
        )
        for mail in mails
        if mail.refused
    ]


class FaultIndex:
    """Faults by whom they affect, to find those of a mail."""

    def __init__(self, faults: Iterable[FaultRecord]) -> None:
        self._by_user: defaultdict[int, list[FaultRecord]] = defaultdict(list)
        self._others: list[FaultRecord] = []
        for fault in faults:
            (self._others if fault.user is None else self._by_user[fault.user]).append(fault)

    def of(self, mail: MailRecord) -> list[FaultRecord]:
        """Return the faults that affect a mail."""
        return [fault for fault in (*self._by_user.get(mail.user, ()), *self._others) if fault.affects(mail)]


def set_recoveries(
    faults: Sequence[FaultRecord], mails: Sequence[MailRecord], *, limit: float, excused: FaultIndex
) -> None:
    """Set when mail was as fast as before, for faults of processes and receivers.

    From the start of the fault, late mails (slower than `limit`) are followed as long as each was due before the
    previous one was accepted; a fault that makes no mail late is over at once. Mails that an `excused` fault
    affects are left out. A fault stays without recovery while a late mail was never accepted.
    """
    late = sorted(
        (mail for mail in mails if (mail.latency is None or mail.latency > limit) and not excused.of(mail)),
        key=lambda mail: mail.scheduled,
    )
    for fault in faults:
        own = [mail for mail in late if fault.partner is None or mail.partner == fault.partner]
        fault.recovered = _end_of_chain(own, fault.start, fault.end)


def _end_of_chain(late: Sequence[MailRecord], start: float, end: float) -> float | None:
    over = end
    due = [mail.scheduled for mail in late]
    # A mail that was due long before the fault is late for another reason, unless it was under way.
    first = bisect_left(due, start - 60.0)
    for mail in late[first:]:
        if mail.scheduled > over + CHAIN_GAP_SECONDS:
            break
        arrived = min(mail.accepted, default=None)
        if arrived is None:
            return None
        if arrived >= start:
            over = max(over, arrived)
    return over


def split_by_faults(
    mails: Iterable[MailRecord], index: FaultIndex
) -> tuple[list[MailRecord], list[MailRecord]]:
    """Return the mails outside the windows of all faults, and those within one."""
    outside: list[MailRecord] = []
    inside: list[MailRecord] = []
    for mail in mails:
        (inside if mail.refused or index.of(mail) else outside).append(mail)
    return outside, inside


def unexplained_duplicates(
    mails: Iterable[MailRecord], kills: Iterable[FaultRecord], *, within: float
) -> int:
    """Count further acceptances of a mail that no kill of a dispatcher explains.

    A dispatcher that is killed between the 2xx and its record sends that webhook again: the first acceptance lies
    at most `within` seconds before the kill.
    """
    moments = sorted(fault.start for fault in kills)
    count = 0
    for mail in mails:
        ordered = sorted(mail.accepted)
        for earlier in ordered[:-1]:
            place = bisect_left(moments, earlier)
            is_explained = place < len(moments) and moments[place] - earlier <= within
            count += not is_explained
    return count
