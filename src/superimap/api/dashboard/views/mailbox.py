"""The page of a mailbox: is it watched, since when, what was seen in it; and of one mail: its path."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from superimap.api.dashboard import mail_path, words
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import Trail, mailboxes_trail
from superimap.api.errors import Problem
from superimap.db import audit
from superimap.db.accounts import mail_retries, user_retries
from superimap.db.models import AuditEntry, User
from superimap.db.monitoring import history, mailboxes, messages
from superimap.db.monitoring.mailboxes import MailboxStatus
from superimap.db.monitoring.messages import MessageRow
from superimap.domain.mails import MailOutcome
from superimap.domain.users import UserStatus
from superimap.webhooks.signing import delivery_of

pages = Pages(ADMIN, PORTAL)

PAGE_ROWS = 25
_SETTLED = (UserStatus.WATCHING, UserStatus.ARCHIVED)
"""Statuses that nobody waits to see change. A change of the others is announced by no row of its own."""
_EXPECTED_FOR = timedelta(minutes=10)
"""Time for which somebody may wait for a change of the others: after that, it is no news."""


@pages.get("/mailboxes/{user_id}")
async def mailbox(page: Page, user_id: str) -> Response:
    """Show a mailbox with its latest mails."""
    seen = await mailboxes.read(page.db, row_number(user_id), partner_id=page.scope)
    outcome = page.query("outcome")
    header = page.query("message_id")
    if header:
        rows = await messages.find_by_header(page.db, seen.user, header, limit=PAGE_ROWS)
    else:
        rows = await messages.list_latest(
            page.db,
            seen.user,
            limit=PAGE_ROWS + 1,
            before=page.number("before"),
            outcome=MailOutcome(outcome) if outcome in set(MailOutcome) else None,
        )
    return page.show(
        "mailbox.html",
        seen=seen,
        trail=trail(page, seen),
        rows=rows[:PAGE_ROWS],
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        outcome=outcome,
        header=header,
        archived_by=await _archived_by(page, seen.user),
        words=words,
        outcomes=list(MailOutcome),
        live="soon" if _is_change_expected(seen.user) else True,
    )


def _is_change_expected(user: User) -> bool:
    return user.status not in _SETTLED and datetime.now(UTC) - user.status_since < _EXPECTED_FOR


async def _archived_by(page: Page, user: User) -> AuditEntry | None:
    """Return who archived a mailbox, for operators; None if its application did so by an answer."""
    if not user.archived or page.door != ADMIN:
        return None
    return await audit.find_change(
        page.db, partner_id=user.partner_id, object_id=user.id, at=user.status_since
    )


@pages.post("/mailboxes/{user_id}/try")
async def try_now(page: Page, user_id: str) -> Response:
    """Start the session of a mailbox again."""
    seen = await mailboxes.read(page.db, row_number(user_id), partner_id=page.scope)
    await user_retries.try_now(page.db, seen.user)
    return page.redirect(f"/mailboxes/{seen.user.id}", done="retried")


@pages.get("/mails/{message_id}")
async def mail(page: Page, message_id: str) -> Response:
    """Show the path of one mail, also if nothing was sent, and why."""
    seen, row = await read_mail(page, message_id)
    attempts = []
    if row.delivery is not None and (delivery := delivery_of(row.delivery.webhook_id)) is not None:
        attempts = await history.list_attempts(page.db, page.resources.vault, seen.user.partner_id, delivery)
    return page.show(
        "mail.html",
        seen=seen,
        trail=[*trail(page, seen), (seen.user.email or seen.user.tag, f"/mailboxes/{seen.user.id}")],
        mail=row,
        attempts=attempts,
        stages=mail_path.stages(row, attempts),
        words=words,
        is_retryable=row.outcome in mail_retries.RETRYABLE,
        live=True,
    )


@pages.post("/mails/{message_id}/retry")
async def retry(page: Page, message_id: str) -> Response:
    """Have a mail read again that could not be read."""
    number = row_number(message_id)
    seen = await _owner(page, number)
    await mail_retries.retry_message(page.db, seen.user, number)
    return page.redirect(f"/mails/{number}", done="reread")


async def read_mail(page: Page, message_id: str) -> tuple[MailboxStatus, MessageRow]:
    """Return the mail with the number in a path, and its mailbox. Raises Problem 404, or NotFound."""
    number = row_number(message_id)
    seen = await _owner(page, number)
    return seen, await messages.get(page.db, seen.user, number)


async def _owner(page: Page, message_id: int) -> MailboxStatus:
    """Return the mailbox of a mail. Raises NotFound."""
    user_id = await messages.owner(page.db, message_id, partner_id=page.scope)
    return await mailboxes.read(page.db, user_id, partner_id=page.scope)


def row_number(text: str) -> int:
    """Return the id in a path. Raises Problem 404 for anything that is none."""
    if text.isascii() and text.isdecimal() and 0 < int(text[:19]) < 2**63 and len(text) <= 19:
        return int(text)
    raise Problem(404, "There is nothing at this address.")


def trail(page: Page, seen: MailboxStatus) -> Trail:
    """Return the names and paths of the pages above a mailbox."""
    if page.door == PORTAL:
        return [("Mailboxes", "/mailboxes")]
    return mailboxes_trail(seen.partner, seen.connection, seen.provider)
