"""The page Tracers, the portal's arrival check, and the same for programs: each provider by its own tracers."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from sqlalchemy import text

from superimap.domain.operators import OperatorRole
from tests.integration.dashboard.test_portal import opened
from tests.support.api import ApiWorld
from tests.support.dashboard import signed_in

HOSTILE = "<script>alert(1)</script>\u202e'\"&" + "x" * 300

_PROVIDER = """
    INSERT INTO providers (code, title, kind, imap_host, imap_port, tracer_by)
    VALUES (:code, :code, 'PLAIN', 'imap.example.com', 993, 'append')
"""
_USER = """
    WITH linked AS (
        INSERT INTO connections (partner_id, provider_id) SELECT p.id, v.id FROM partners p, providers v
        WHERE p.name = :partner AND v.code = :code RETURNING *
    )
    INSERT INTO users (partner_id, connection_id, tag, email, enable_tracer)
    SELECT partner_id, id, 'canary', :email, true FROM linked RETURNING id, partner_id
"""
_TRACER = """
    INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, created_at, accepted_at, internal_date,
        seen_at, fetched_at, detected_at, failure, verdict)
    SELECT :partner, :user, v.id, sha256(random()::text::bytea), at, at, arrived, arrived, arrived,
        arrived + make_interval(secs => :took), :failure, :verdict
    FROM providers v, LATERAL (SELECT now() - make_interval(secs => :age)) t(at),
        LATERAL (SELECT CASE WHEN :is_detected THEN at END) a(arrived)
    WHERE v.code = :code
"""
_DAY = """
    INSERT INTO tracer_days (provider_id, day, detected, late, missing, unsendable)
    SELECT id, (now() AT TIME ZONE 'UTC')::date - CAST(:ago AS integer), :detected, :late, :missing, :unsendable
    FROM providers WHERE code = :code
"""


async def add(world: ApiWorld, partner: str, code: str, verdicts: Mapping[str, float], **values) -> None:
    """Make a mailbox with tracers at a provider: a verdict, and how many seconds ago its tracer was made."""
    async with world.sessionmaker.begin() as db:
        await db.execute(text(_PROVIDER), {"code": code})
        values = {"failure": None, "email": f"canary@{code.lower()}.example", "took": 1.0} | values
        user, owner = (await db.execute(text(_USER), values | {"partner": partner, "code": code})).one()
        for verdict, age in verdicts.items():
            is_detected = verdict in ("detected", "late")
            row = {"partner": owner, "user": user, "code": code, "age": age, "is_detected": is_detected}
            await db.execute(text(_TRACER), values | row | {"verdict": verdict})


async def count(world: ApiWorld, code: str, ago: int, *counts: int) -> None:
    names = ("detected", "late", "missing", "unsendable")
    async with world.sessionmaker.begin() as db:
        await db.execute(text(_DAY), {"code": code, "ago": ago, **dict(zip(names, counts, strict=True))})


def rows_of(page: str, part: str) -> list[list[str]]:
    """The cells of each row of the first table of a part, without markup."""
    found = re.search(rf'data-part="{part}".*?</table>', page, re.S)
    assert found, page
    rows = re.findall(r"<tr>(<td.*?)</tr>", found[0], re.S)
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row.split("</td>")] for row in rows
    ]


async def test_each_provider_is_judged_by_its_last_tracer_and_the_objective_by_four_weeks(world):
    await add(world, "acme", "FASTMAIL", {"detected": 60, "missing": 600})
    await add(world, "acme", "ZOHO", {"missing": 900, "detected": 1500})
    await add(world, "acme", "YAHOO", {"late": 60}, took=17.0)
    await add(world, "acme", "ICLOUD", {"unsendable": 60}, failure=HOSTILE, email=f"<b>{'y' * 90}@x.example")
    await add(world, "acme", "AOL", {"detected": 7 * 3600})
    await count(world, "FASTMAIL", 0, 990, 2, 3, 50)
    await count(world, "ZOHO", 27, 1000, 0, 0, 0)
    await count(world, "ZOHO", 28, 0, 0, 9999, 0)
    viewer = await signed_in(world, OperatorRole.VIEWER)

    page = (await viewer.get("/tracers")).text

    states = {row[0]: row[1] for row in rows_of(page, "providers")}
    assert {code: state[:11].strip() for code, state in states.items()} == {
        "AOL": "not checked", "FASTMAIL": "fine", "ICLOUD": "failing <sc", "YAHOO": "late", "ZOHO": "failing",
    }  # fmt: skip
    assert "The last test mail failed at ICLOUD, ZOHO." in page
    assert "99.75 %" in page
    assert "75 %" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    misses = rows_of(page, "misses")
    assert [(row[1], row[3]) for row in misses] == [
        ("ICLOUD", "not sent"), ("YAHOO", "late"), ("FASTMAIL", "missing"), ("ZOHO", "missing"),
    ]  # fmt: skip
    assert "recorded 17 s after INTERNALDATE" in page
    assert [row[0].split()[0] for row in rows_of(page, "stages")] == [
        "Accepted", "Received", "Seen", "Fetched", "Recorded",
    ]  # fmt: skip


async def test_without_tracers_the_page_says_how_to_begin(world):
    viewer = await signed_in(world, OperatorRole.VIEWER)

    page = (await viewer.get("/tracers")).text

    assert "No test mail has been sent yet." in page
    assert "choose how a provider gets them" in page


async def test_a_portal_shows_the_arrival_check_of_its_own_providers_only(world):
    await add(world, "acme", "FASTMAIL", {"detected": 60})
    await add(world, "globex", "ZOHO", {"missing": 60})
    portal = await opened(world, world.acme)

    page = (await portal.get()).text

    assert "Arrival check" in page
    assert "FASTMAIL" in page
    assert "ZOHO" not in page
    assert "canary@" not in page


async def test_providers_that_nobody_checks_any_more_are_not_reported_as_working(world):
    await add(world, "acme", "AOL", {"detected": 7 * 3600})
    await count(world, "AOL", 0, 10, 0, 0, 0)
    viewer = await signed_in(world, OperatorRole.VIEWER)
    nobody = (await viewer.get("/tracers")).text
    assert "STARTTLS" not in (await viewer.get("/providers/AOL")).text, "it has no SMTP server"
    await add(world, "acme", "ZOHO", {"detected": 60})

    some = (await viewer.get("/tracers")).text

    assert "No provider was checked in the last 6 h." in nobody and "Mail arrives in time" not in nobody
    assert "Mail arrives in time at every provider that was checked." in some
    assert "Not checked in the last 6 h: AOL." in some and 'class="panel headline warn"' in some
    await count(world, "ZOHO", 0, 10, 0, 1, 0)
    assert (
        "More test mails were late or missing than the objective allows."
        in (await viewer.get("/tracers")).text
    )


async def test_a_portal_does_not_report_a_mail_that_was_never_sent_as_a_failure_of_the_provider(world):
    await add(world, "acme", "ICLOUD", {"unsendable": 60}, failure="signing in: the SMTP server answered 454")
    portal = await opened(world, world.acme)

    page = (await portal.get()).text

    assert "not checked" in page and "failing" not in page and "last test mail" not in page
