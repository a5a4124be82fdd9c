"""Reads what a stress test left behind: its journals and its database, put together by mail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from superimap.launch.stress import recovery
from superimap.launch.stress.journal import EVENTS, GENERATED, WATCHED_BY, processed, read_rows
from superimap.launch.stress.plan import PARTNER_COUNT, StressPlan
from superimap.launch.stress.records import FaultRecord, MailRecord, RunRecord

_MESSAGES = """
    SELECT encode(m.sha1, 'hex') AS sha1, m.outcome, extract(epoch FROM m.created_at)::float8 AS at,
           d.state, encode(o.sha1, 'hex') AS copy_of
    FROM messages m
    LEFT JOIN deliveries d ON d.message_id = m.id AND d.partner_id = m.partner_id AND d.kind = 'new_mail'
    LEFT JOIN messages o ON o.id = m.duplicate_of AND o.partner_id = m.partner_id
    ORDER BY m.id
"""
UNSETTLED = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending')"


def read_mails(folder: Path, started: float) -> dict[str, MailRecord]:
    """Return the generated mails by SHA-1."""
    return {
        row["sha1"]: MailRecord(
            row["sha1"],
            user_number(row["user"]),
            float(row["scheduled"]) - started,
            float(row["time"]) - started,
        )
        for row in read_rows(folder, GENERATED)
    }


def user_number(name: str) -> int:
    """Return the number of a user, or -1 if the name is none of ours."""
    digits = name.removeprefix("user")
    return int(digits) if digits.isdecimal() else -1


def add_answers(folder: Path, mails: dict[str, MailRecord], started: float) -> tuple[int, int]:
    """Add the POSTs to their mails; returns how many accepted ones were forged, and how many astray."""
    forged = astray = 0
    for partner in range(PARTNER_COUNT):
        for row in read_rows(folder, processed(partner)):
            at, is_accepted = float(row["time"]) - started, row["answer"] == "200"
            mail = mails.get(row["sha1"])
            if mail is None or row["is_signed"] != "1":
                forged += 1
            elif mail.partner != partner or mail.user != user_number(row["user"]):
                astray += 1
            else:
                (mail.accepted if is_accepted else mail.refused).append(at)
                mail.webhook_ids.add(row["webhook_id"])
    return forged, astray


def add_rows(mails: dict[str, MailRecord], rows: Iterable[Any], started: float) -> dict[str, int]:
    """Add the first row of `messages` to each mail; returns the other rows by outcome."""
    others: Counter[str] = Counter()
    for row in rows:
        mail = mails.get(row["sha1"] or row["copy_of"] or "")
        if mail is None or mail.outcome is not None:
            others[row["outcome"]] += 1
            if mail is not None and mail.outcome == "duplicate" and row["outcome"] == "delivered":
                mail.outcome, mail.state = row["outcome"], row["state"]
            continue
        mail.outcome, mail.state, mail.recorded = row["outcome"], row["state"], row["at"] - started
    return dict(others)


def read_strikes(folder: Path, started: float) -> tuple[list[tuple[float, int, str]], list[FaultRecord]]:
    """Return the misbehaviour of the mail server, and what it did to mailboxes."""
    strikes: list[tuple[float, int, str]] = []
    events: list[recovery.MailboxEvent] = []
    for row in read_rows(folder, EVENTS):
        at, user, method = float(row["time"]) - started, user_number(row["user"]), row["method"]
        if method in WATCHED_BY:
            events.append((at, user, recovery.WATCHED, ""))
        elif method.startswith("chaos "):
            kind = method.removeprefix("chaos ")
            strikes.append((at, user, kind))
            if user >= 0:
                events.append((at, user, recovery.STRIKE, kind))
    return strikes, recovery.mailbox_faults(events)


async def observe(
    plan: StressPlan,
    folder: Path,
    database_url: str,
    *,
    started: float,
    process_faults: Sequence[FaultRecord],
) -> RunRecord:
    """Put the journals and the database together. `started` is the Unix time of moment 0."""
    mails = read_mails(folder, started)
    forged, astray = add_answers(folder, mails, started)
    db = await asyncpg.connect(database_url)
    try:
        other_rows = add_rows(mails, await db.fetch(_MESSAGES), started)
        unsettled = await db.fetchval(UNSETTLED)
    finally:
        await db.close()
    strikes, mailbox_faults = read_strikes(folder, started)
    ordered = sorted(mails.values(), key=lambda mail: mail.scheduled)
    posts = recovery.refused_posts(ordered)
    # A POST that is refused delays its own mail alone, and an outage also those behind it.
    resets = [each for each in posts if _outage_of(each, process_faults) is None]
    outages = [each for each in process_faults if each.partner is not None]
    others = [each for each in process_faults if each.partner is None]
    limit, known = plan.limits.latency, [*mailbox_faults, *resets]
    recovery.set_recoveries(outages, ordered, limit=limit, excused=recovery.FaultIndex(known))
    recovery.set_recoveries(others, ordered, limit=limit, excused=recovery.FaultIndex([*known, *outages]))
    arrived = [max(mail.accepted) for mail in ordered if mail.accepted]
    is_settled = not unsettled and len(arrived) == len(ordered)
    return RunRecord(
        mails=ordered,
        faults=sorted([*mailbox_faults, *resets, *process_faults], key=lambda fault: fault.start),
        strikes=strikes,
        forged=forged,
        astray=astray,
        other_rows=other_rows,
        settled_at=max(arrived, default=0.0) if is_settled else None,
    )


def _outage_of(post: FaultRecord, faults: Sequence[FaultRecord]) -> FaultRecord | None:
    partner = (post.user or 0) % PARTNER_COUNT
    return next(
        (each for each in faults if each.partner == partner and each.start <= post.start <= each.end), None
    )
