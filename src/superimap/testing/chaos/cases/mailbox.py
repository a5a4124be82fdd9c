"""Cases of mailboxes that change while they are read: UIDs, mails, names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.chaos.hostile_mails import hostile_mails, small_mail
from superimap.testing.imap.mailbox import MAX_UID, FakeMailbox
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

GAP_UIDS = 1_000_000


def _renumber(arm: ArmedCase, session: FakeSession, mailbox: FakeMailbox) -> None:
    mailbox.set_uidvalidity(arm.chance(session).randrange(1, 2**31))


def _inbox(session: FakeSession) -> FakeMailbox | None:
    if session.mailbox is not None or session.account is None:
        return session.mailbox
    return session.account.inbox


def _named(session: FakeSession, command: ClientCommand) -> FakeMailbox | None:
    return None if session.account is None else session.account.find(command.text(0).decode("latin-1"))


@case("C07 uidvalidity changes at select")
def uidvalidity_changes_at_select(arm: ArmedCase) -> None:
    """Just before the answer to EXAMINE the mailbox gets another UIDVALIDITY, and new UIDs from 1."""

    async def renumber(session: FakeSession, command: ClientCommand) -> None:
        mailbox = _named(session, command)
        if mailbox is not None:
            _renumber(arm, session, mailbox)

    arm.on("EXAMINE", renumber)


@case("C07 uidvalidity changes in idle")
def uidvalidity_changes_in_idle(arm: ArmedCase) -> None:
    """After `seconds` (0) of IDLE the mailbox gets another UIDVALIDITY; the session ends with a BYE."""

    def renumber(session: FakeSession) -> None:
        if session.mailbox is not None:
            _renumber(arm, session, session.mailbox)

    arm.in_idle(renumber, delay=float(arm.option("seconds", 0.0)))


@case("C08 uid gap")
def uid_gap(arm: ArmedCase) -> None:
    """When IDLE begins, a million UIDs are skipped."""

    def leap(session: FakeSession) -> None:
        mailbox = _inbox(session)
        if mailbox is not None and mailbox.uidnext + GAP_UIDS < MAX_UID:
            mailbox.uidnext += GAP_UIDS

    arm.in_idle(leap)


@case("C10 expunge between search and fetch")
def expunge_between_search_and_fetch(arm: ArmedCase) -> None:
    """The newest message that a search returns is expunged before it can be fetched."""

    async def search(session: FakeSession, command: ClientCommand) -> bytes:
        answer = session.usual_answer(command)
        found = [int(word) for word in answer.split(b"\r\n", 1)[0].split()[2:] if word.isdigit()]
        if found and session.mailbox is not None and session.mailbox.get(found[-1]) is not None:
            session.mailbox.expunge(found[-1])
        return answer

    arm.on("UID SEARCH", search)


@case("C13 mailbox is gone")
def mailbox_is_gone(arm: ArmedCase) -> None:
    """EXAMINE answers that the mailbox does not exist; with `idle`, sessions in IDLE end with a BYE."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" NO [NONEXISTENT] Unknown Mailbox\r\n"

    arm.on("EXAMINE", refuse)
    if arm.option("idle", False):
        arm.in_idle(lambda session: session.removed())


@case("C13 mailbox is renamed")
def mailbox_is_renamed(arm: ArmedCase) -> None:
    """In IDLE a mailbox other than INBOX is renamed to `to` (Renamed); the session ends with a BYE."""
    new = str(arm.option("to", "Renamed"))

    def rename(session: FakeSession) -> None:
        mailbox, account = session.mailbox, session.account
        if mailbox is None or account is None or mailbox.name == "INBOX" or account.find(new) is not None:
            return
        account.rename(mailbox.name, new)
        session.removed()

    arm.in_idle(rename)


@case("C14 moved in and out")
def moved_in_and_out(arm: ArmedCase) -> None:
    """When IDLE begins, a message arrives and is moved away at once."""

    def pass_through(session: FakeSession) -> None:
        if (mailbox := _inbox(session)) is not None:
            mailbox.expunge(mailbox.append(small_mail(f"passing {mailbox.uidnext}")))

    arm.in_idle(pass_through)


@case("C30 hostile mail")
def hostile_mail(arm: ArmedCase) -> None:
    """When IDLE begins, hostile mails arrive: bad UTF-8, NUL, deep MIME, a header of `header` bytes (10 MB)."""
    mails = hostile_mails(header=int(arm.option("header", 10 << 20)))

    def deliver(session: FakeSession) -> None:
        for raw in mails.values():
            if (mailbox := _inbox(session)) is not None:
                mailbox.append(raw)

    arm.in_idle(deliver)


@case("C37 burst of mail")
def burst_of_mail(arm: ArmedCase) -> None:
    """When IDLE begins, `mails` (10000) arrive at once."""
    count = int(arm.option("mails", 10_000))

    def deliver(session: FakeSession) -> None:
        for number in range(count):
            if (mailbox := _inbox(session)) is not None:
                mailbox.append(small_mail(f"burst {session.username} {number}"))

    arm.in_idle(deliver)


@case("C38 seen is watched")
def seen_is_watched(arm: ArmedCase) -> None:
    """Nothing goes wrong; commands that would mark a message as read are recorded."""

    async def watch(session: FakeSession, command: ClientCommand) -> None:
        asked = repr(command.arguments).upper()
        fetches = "FETCH" in command.name and ("BODY[" in asked or "RFC822'" in asked or "TEXT'" in asked)
        if command.name in {"SELECT", "STORE", "UID STORE"} or fetches:
            arm.record_strike(session, command.name)

    arm.always("*", watch)


@case("C40 uid reused")
def uid_reused(arm: ArmedCase) -> None:
    """In IDLE the last message is expunged, and the next one gets its UID, under the same UIDVALIDITY."""

    def reuse(session: FakeSession) -> None:
        mailbox = _inbox(session)
        if mailbox is not None and mailbox.messages:
            last = mailbox.messages[-1].uid
            mailbox.expunge(last)
            mailbox.uidnext = last

    arm.in_idle(reuse, delay=float(arm.option("seconds", 0.0)))


@case("C40 uids begin again")
def uids_begin_again(arm: ArmedCase) -> None:
    """Before the answer to EXAMINE all UIDs start again from 1, under the same UIDVALIDITY."""

    async def restart(session: FakeSession, command: ClientCommand) -> None:
        mailbox = _named(session, command)
        if mailbox is not None:
            mailbox.set_uidvalidity(mailbox.uidvalidity)

    arm.on("EXAMINE", restart)


def age(mailbox: FakeMailbox, *, days: float) -> None:
    """Make every message of a mailbox older by this many days."""
    for message in mailbox.messages:
        message.internal_date = min(message.internal_date, datetime.now(UTC)) - timedelta(days=days)
