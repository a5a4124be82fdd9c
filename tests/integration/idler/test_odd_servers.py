"""Mail is delivered from servers that stray from the protocol: one user for each deviation, all in one idler."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fixtures.world import World, eventually, running
from superimap import __version__
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap import search
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, only, rewriting
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from tests.integration.idler.test_watching import mail, set_up

TIMING = SessionTiming(backoff_first=0.02, backoff_longest=0.2)
Deviation = Sequence[tuple[str, Hook]]
"""Commands, and what the server answers to each of them."""


@asynccontextmanager
async def watching(
    world: World, imap: ImapServer, deviations: Mapping[str, Deviation], *, folder: str | None = None
):
    """Watch one account for each deviation, named after it; the block starts when all are watched.

    `folder` is what the provider's row prefers; each account has the mailbox Envoyés, of the use \\All.
    """
    partner = await set_up(world, imap)
    await world.rows("UPDATE providers SET folders = $1", folder)
    for name, deviation in deviations.items():
        account = imap.add_account(name, "pw")
        if folder is not None:
            account.create("Envoyés", special_use="\\All")
        await world.user(partner, name, login=name, password="pw")
        for command, hook in deviation:
            imap.on(command, at_login(hook, name) if command == "LOGIN" else only(hook, username=name))
    async with running(functools.partial(main.serve, timing=TIMING), world.settings):
        await until_watched(world, deviations)
        yield


def at_login(hook: Hook, username: str) -> Hook:
    """Call `hook` when this user logs in."""

    async def limited(session: FakeSession, command: ClientCommand) -> bytes | None:
        return await hook(session, command) if command.text(0).decode() == username else None

    return limited


async def until_watched(world: World, names: Sequence[str] | Mapping[str, object]) -> None:
    async def unwatched() -> dict[str, str]:
        rows = await world.rows("SELECT tag, status, status_reason FROM users WHERE status <> 'watching'")
        return {row["tag"]: row["status_reason"] for row in rows if row["tag"] in names}

    async def all_are_watched() -> bool:
        return not await unwatched()

    try:
        await eventually(all_are_watched, within=5)
    except (AssertionError, TimeoutError):
        raise AssertionError(f"not watched: {await unwatched()}") from None


async def outcomes_by_user(world: World) -> dict[str, list[str]]:
    rows = await world.rows(
        "SELECT tag, outcome FROM messages m JOIN users u ON u.id = m.user_id ORDER BY uid"
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["tag"], []).append(row["outcome"])
    return found


async def all_have(world: World, names: Mapping[str, object], expected: Sequence[str]) -> None:
    """Wait until the mails of each user have these outcomes; show those of the users that do not."""

    async def missing() -> dict[str, list[str]]:
        found = await outcomes_by_user(world)
        return {name: found.get(name, []) for name in names if found.get(name) != list(expected)}

    async def complete() -> bool:
        return not await missing()

    try:
        await eventually(complete, within=8)
    except (AssertionError, TimeoutError):
        raise AssertionError(f"expected {list(expected)}, not {await missing()}") from None


def dated(date: datetime, subject: str) -> bytes:
    """Return a mail with this Date header."""
    return re.sub(rb"Date: [^\r]*", b"Date: " + format_datetime(date).encode(), mail(subject))


async def deliver_with_gaps(world: World, imap: ImapServer, names: Mapping[str, object]) -> None:
    """Deliver a mail to each, then one above a gap, and wait for both."""
    soon = datetime.now(UTC) + timedelta(seconds=10)
    for name in names:
        imap.deliver(name, dated(soon, f"first to {name}"))
    await all_have(world, names, ["delivered"])
    for name in names:
        imap.accounts[name].inbox.uidnext += 1000
        imap.deliver(name, dated(soon, f"second to {name}"))
    await all_have(world, names, ["delivered", "delivered"])


def ending_with(last: bytes) -> Hook:
    """End the connection after these bytes."""

    async def hook(session: FakeSession, _command: ClientCommand) -> bytes:
        session.send(last)
        session.close()
        return b""

    return hook


NO_CODE = (b"\\* OK \\[UID(VALIDITY|NEXT) [0-9]+\\][^\r]*\r\n", b"")
NUMBERS: Mapping[str, Deviation] = {
    f"UIDVALIDITY {value.decode()}": [
        ("EXAMINE", rewriting(rb"UIDVALIDITY \d+", b"UIDVALIDITY " + value)),
        ("STATUS", rewriting(rb"UIDVALIDITY \d+", b"UIDVALIDITY " + value)),
    ]
    for value in (b"0", b"1713632002544", b"9223372036854775807", b"9" * 30, b"-1", b"007", b"x")
} | {
    "no UIDVALIDITY": [("EXAMINE", rewriting(*NO_CODE)), ("STATUS", rewriting(rb"UID\w+ \d+ ?", b""))],
    "no UIDVALIDITY and no STATUS": [
        ("EXAMINE", rewriting(*NO_CODE)),
        ("STATUS", answering(b"%(tag)s BAD unknown command")),
    ],
    "UIDVALIDITY in the tagged OK": [
        (
            "EXAMINE",
            rewriting(rb"\* OK \[UIDVALIDITY 1\][^\r]*\r\n(.*) OK \[READ-ONLY\]", rb"\1 OK [UIDVALIDITY 7]"),
        )
    ],
    "UIDVALIDITY without a text": [("EXAMINE", rewriting(rb"(\[UIDVALIDITY \d+\])[^\r]*", rb"\1"))],
    "UIDVALIDITY and text without a blank": [("EXAMINE", rewriting(rb"(\[UIDVALIDITY \d+\]) ", rb"\1"))],
    "codes in lower case": [("EXAMINE", rewriting(rb"OK \[UIDVALIDITY", rb"ok [uidvalidity"))],
    "UIDNEXT 0": [("EXAMINE", rewriting(rb"UIDNEXT \d+", b"UIDNEXT 0"))],
    "UIDNEXT 1": [("EXAMINE", rewriting(rb"UIDNEXT \d+", b"UIDNEXT 1"))],
    "UIDNEXT of 30 digits": [("EXAMINE", rewriting(rb"UIDNEXT \d+", b"UIDNEXT " + b"9" * 30))],
    "UIDNEXT NIL": [("EXAMINE", rewriting(rb"UIDNEXT \d+", b"UIDNEXT NIL"))],
    "no FLAGS, no RECENT": [("EXAMINE", rewriting(rb"\* (FLAGS [^\r]*|\d+ RECENT)\r\n", b""))],
}


async def test_mail_is_delivered_whatever_uidvalidity_and_uidnext_the_server_reports(world, imap):
    async with watching(world, imap, NUMBERS):
        await deliver_with_gaps(world, imap, NUMBERS)


async def test_uids_beyond_32_bits_are_delivered(world, imap):
    async with watching(world, imap, {"wide": []}):
        imap.accounts["wide"].inbox._uidnext = 19564493749
        imap.deliver("wide", mail("first"))
        await all_have(world, {"wide": []}, ["delivered"])
        imap.accounts["wide"].inbox._uidnext = (1 << 63) - 1
        imap.deliver("wide", mail("last"))
        await all_have(world, {"wide": []}, ["delivered", "delivered"])

    rows = await world.rows("SELECT uid FROM messages ORDER BY uid")
    assert [row["uid"] for row in rows] == [19564493749, (1 << 63) - 1]


def lists_as(listed: bytes, raw: bytes, *, attributes: bytes = b"") -> Deviation:
    """List the mailbox Envoyés as `listed`, and open it by the bytes `raw` only."""
    line = b"* LIST (" + attributes + b") " + listed + b"\r\n"

    async def open_by_raw(session: FakeSession, command: ClientCommand) -> bytes:
        if command.text(0) != raw:
            return command.tag + b" NO [NONEXISTENT] no such mailbox\r\n"
        encoded = "Envoyés".encode("utf-7").replace(b"+", b"&")
        return session.usual_answer(
            ClientCommand(command.tag, command.name, [encoded, *command.arguments[1:]])
        )

    async def list_it(session: FakeSession, command: ClientCommand) -> bytes:
        return b'* LIST () "/" INBOX\r\n' + line + command.tag + b" OK listed\r\n"

    return [("LIST", list_it), ("EXAMINE", open_by_raw), ("STATUS", open_by_raw)]


FOLDERS: Mapping[str, Deviation] = {
    "as encoded": [],
    "raw UTF-8": lists_as(b'"/" "Envoy\xc3\xa9s"', b"Envoy\xc3\xa9s"),
    "raw UTF-8, decomposed, an atom": lists_as(b'"/" Envoye\xcc\x81s', b"Envoye\xcc\x81s"),
    "raw UTF-8 in a literal": lists_as(b'"/" {8}\r\nEnvoy\xc3\xa9s', b"Envoy\xc3\xa9s"),
    "Latin-1": lists_as(b'"/" "Envoy\xe9s"', b"Envoy\xe9s"),
    "modified UTF-7 without its end": lists_as(b'NIL "Envoy&AOk-s"', b"Envoy&AOk-s"),
    "below INBOX": lists_as(b'"." "INBOX.Envoy\xc3\xa9s"', b"INBOX.Envoy\xc3\xa9s"),
    "in capitals, a literal delimiter": lists_as(b'{1}\r\n/ "ENVOY\xc3\x89S"', b"ENVOY\xc3\x89S"),
    "listed raw, opened encoded": lists_as(b'"/" "Envoy\xc3\xa9s"', b"Envoy&AOk-s"),
}


async def test_a_folder_is_watched_whatever_its_name_is_listed_as(world, imap):
    async with watching(world, imap, FOLDERS, folder="Envoyés"):
        for name in FOLDERS:
            imap.deliver(name, mail(f"to {name}"), "Envoyés")
        await all_have(world, FOLDERS, ["delivered"])

    assert {row["name"] for row in await world.rows("SELECT name FROM mailboxes")} == {
        "Envoyés", "Envoye\u0301s", "INBOX.Envoyés", "ENVOYÉS",
    }  # fmt: skip


async def refuse_return(session: FakeSession, command: ClientCommand) -> bytes | None:
    return command.tag + b" BAD unexpected RETURN\r\n" if b"RETURN" in command.arguments else None


async def answer_return_with_nothing(session: FakeSession, command: ClientCommand) -> bytes | None:
    return command.tag + b" OK listed\r\n" if b"RETURN" in command.arguments else None


USES: Mapping[str, Deviation] = {
    "RETURN is refused": [("LIST", refuse_return)],
    "RETURN lists nothing": [("LIST", answer_return_with_nothing)],
    "XLIST's attribute": lists_as(b'"/" "Envoy&AOk-s"', b"Envoy&AOk-s", attributes=b"\\ALLMAIL"),
}


async def test_a_special_use_is_found_whatever_the_server_knows_of_the_extensions(world, imap):
    imap.capabilities.append("LIST-EXTENDED")
    async with watching(world, imap, USES, folder="\\All"):
        pass

    assert await world.value("SELECT count(*) FROM mailboxes WHERE name = 'Envoyés'") == len(USES)


def unsafe_until_id() -> Deviation:
    """Open no mailbox for a session that has not said ID, as the servers of NetEase do."""
    introduced: set[int] = set()

    async def note(session: FakeSession, _command: ClientCommand) -> None:
        introduced.add(session.id)

    async def open_mailbox(session: FakeSession, command: ClientCommand) -> bytes | None:
        if session.id in introduced:
            return None
        return command.tag + b" NO EXAMINE Unsafe Login. Please contact kefu@188.com for help\r\n"

    return [("ID", note), ("EXAMINE", open_mailbox), ("STATUS", open_mailbox)]


NOT_OFFERED = rewriting(rb" ID ", b" ")
IDS: Mapping[str, Deviation] = {
    "needed": unsafe_until_id(),
    "answered NIL": [("ID", answering(b"* ID NIL", b"%(tag)s OK done"))],
    "answered BAD": [("ID", answering(b"%(tag)s BAD command unknown"))],
    "answered NO": [("ID", answering(b"* ID (x", b"%(tag)s NO not now"))],
    "answered BYE": [("ID", ending_with(b"* BYE Goodbye\r\n"))],
    "answered by a reset": [("ID", ending(reset=True))],
    "not offered": [
        ("LOGIN", NOT_OFFERED),
        ("CAPABILITY", NOT_OFFERED),
        ("ID", ending_with(b"* BYE what?\r\n")),
    ],
    "offered by CAPABILITY only": [*unsafe_until_id(), ("LOGIN", rewriting(rb"\[CAPABILITY [^]]*\] ", b""))],
    "CAPABILITY is refused": [
        ("LOGIN", rewriting(rb"\[CAPABILITY [^]]*\] ", b"")),
        ("CAPABILITY", answering(b"%(tag)s BAD unknown")),
    ],
    "no capability but IMAP4": [
        ("LOGIN", rewriting(rb"\[CAPABILITY [^]]*\] ", b"")),
        ("CAPABILITY", answering(b"* CAPABILITY imap4", b"%(tag)s OK done")),
    ],
    "capabilities in lower case": [
        *unsafe_until_id(),
        ("LOGIN", rewriting(rb"CAPABILITY IMAP4rev1 .* IDLE", b"capability imap4rev1 id idle")),
    ],
}


async def test_id_is_said_where_it_is_offered_and_a_server_that_dislikes_it_is_watched_without(world, imap):
    imap.greeting = b"* OK [CAPABILITY IMAP4rev1] ID is offered after login\r\n"
    async with watching(world, imap, IDS):
        pass

    said = {entry.username: entry.line for entry in imap.log if entry.name == "ID"}
    assert set(said) == set(IDS) - {"not offered", "no capability but IMAP4", "CAPABILITY is refused"}
    tokens = said["needed"].split(" ", 1)[1]
    assert tokens == f'ID ("name" "SuperIMAP" "version" "{__version__}")'
    assert [entry.username for entry in imap.log if entry.name == "ID"].count("answered BYE") == 1


UNSUPPORTED = answering(b"%(tag)s BAD UID SEARCH is not supported")
SEARCHES: Mapping[str, Deviation] = {
    "refused by NO": [("UID SEARCH", answering(b"%(tag)s NO not implemented"))],
    "refused by BAD": [("UID SEARCH", UNSUPPORTED)],
    "no answer but OK": [("UID SEARCH", answering(b"%(tag)s OK done"))],
    "always empty": [("UID SEARCH", answering(b"* SEARCH", b"%(tag)s OK done"))],
    "a set that is no set": [("UID SEARCH", answering(b"* ESEARCH (TAG x) UID ALL x", b"%(tag)s OK done"))],
    "in lower case, with MODSEQ": [
        ("UID SEARCH", rewriting(rb"\* SEARCH([ 0-9]*)", rb"* search\1 (MODSEQ 917)"))
    ],
    "a line for each": [("UID SEARCH", rewriting(rb"(?<=[0-9]) (?=[0-9])", b"\r\n* SEARCH "))],
    "ESEARCH unasked": [
        ("UID SEARCH", rewriting(rb"\* SEARCH ([0-9]+)[ 0-9]* ([0-9]+)", rb"* ESEARCH UID ALL \1:\2"))
    ],
    "ascending and descending": [
        ("UID SEARCH", rewriting(rb"\* SEARCH ([0-9]+) ([0-9]+)", rb"* SEARCH \2 \1"))
    ],
}


async def test_a_mail_behind_a_gap_is_found_whatever_search_answers(world, imap):
    async with watching(world, imap, SEARCHES):
        await deliver_with_gaps(world, imap, SEARCHES)


@pytest.mark.parametrize("answer", [UNSUPPORTED, answering(b"* SEARCH", b"%(tag)s OK done")])
async def test_old_mail_is_told_from_new_by_date_where_search_is_of_no_use(world, imap, answer):
    imap.on("UID SEARCH", answer)
    now = datetime.now(UTC)
    partner = await set_up(world, imap)
    for days, name in ((400, "ancient"), (0.1, "of this morning")):
        imap.deliver("joe", mail(name), internal_date=now - timedelta(days=days))
    await world.user(partner, "joe", login="joe", password="pw")
    imap.deliver("joe", mail("new"), internal_date=now + timedelta(seconds=2))
    async with running(functools.partial(main.serve, timing=TIMING), world.settings):
        await all_have(world, {"joe": []}, ["before_connect", "delivered"])


async def test_a_large_mailbox_is_fetched_in_slices_where_search_is_refused(world, imap, monkeypatch):
    monkeypatch.setattr(search, "FETCH_MESSAGES", 10)
    imap.on("UID SEARCH", UNSUPPORTED)
    async with watching(world, imap, {"joe-2": []}):
        for number in range(35):
            imap.deliver("joe-2", mail(f"mail {number}"))
        await all_have(world, {"joe-2": []}, ["delivered"] * 35)


def fetches(pattern: bytes, replacement: bytes) -> Deviation:
    return [("UID FETCH", rewriting(pattern, replacement))]


async def refuse_all_but_uid(_session: FakeSession, command: ClientCommand) -> bytes | None:
    items = command.arguments[1]
    asks_more = isinstance(items, list) and (b"INTERNALDATE" in items or len(items) > 2)
    return command.tag + b" BAD unknown item\r\n" if asks_more else None


METADATA: Mapping[str, Deviation] = {
    "INTERNALDATE NIL": fetches(rb'INTERNALDATE "[^"]*"', b"INTERNALDATE NIL"),
    "INTERNALDATE 0": fetches(rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "00-Jan-0000 00:00:00 +0000"'),
    "INTERNALDATE with quotes inside": fetches(rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "1-"Feb"-2026"'),
    "INTERNALDATE missing": fetches(rb'INTERNALDATE "[^"]*" ', b""),
    "RFC822.SIZE NIL": fetches(rb"RFC822.SIZE \d+", b"RFC822.SIZE NIL"),
    "RFC822.SIZE -1": fetches(rb"RFC822.SIZE \d+", b"RFC822.SIZE -1"),
    "RFC822.SIZE missing": fetches(rb"RFC822.SIZE \d+ ?", b""),
    "RFC822.SIZE too small": fetches(rb"RFC822.SIZE \d+", b"RFC822.SIZE 1"),
    "neither of them": fetches(rb'INTERNALDATE "[^"]*" RFC822.SIZE \d+ ', b""),
    "UID at the end only": fetches(rb"\(UID (\d+) (.*?)\)(?=\r\n[*A-Za-z0-9]+ )", rb"(\2 UID \1)"),
    "names in lower case": [*fetches(rb"INTERNALDATE", b"InternalDate")],
    "unknown items": fetches(rb"\(UID ", b'(X-NEW ("a" NIL (1 2)) EMAILID (M1) UID '),
    "more than one response": fetches(
        rb"\* (\d+) FETCH \(UID (\d+) ", rb"* \1 FETCH (UID \2 FLAGS ())\r\n* \1 FETCH (UID \2 "
    ),
    "other messages too": fetches(rb"\* (\d+) FETCH", rb"* 77 FETCH (UID 77 RFC822.SIZE 1)\r\n* \1 FETCH"),
    "items refused": [("UID FETCH", refuse_all_but_uid)],
    "Message-ID quoted": fetches(rb"HEADER.FIELDS \(MESSAGE-ID\)", rb'HEADER.FIELDS ("Message-Id")'),
    "the origin left out": fetches(rb"BODY\[\]<0>", rb"BODY[]"),
    "the name of the request": fetches(rb"BODY\[\]", rb"BODY.PEEK[]"),
    "other status responses between": fetches(
        rb"\* (\d+) FETCH", rb"* OK still here {3}\r\n* NO warning\r\n\r\n* \1 FETCH"
    ),
}


async def test_a_mail_is_delivered_whatever_the_server_knows_of_it(world, imap):
    async with watching(world, imap, METADATA):
        await deliver_with_gaps(world, imap, METADATA)

    assert await world.value("SELECT count(*) FROM messages WHERE size > 10") == 2 * len(METADATA)


async def test_mail_of_unknown_date_is_judged_by_its_date_header_at_the_first_visit(world, imap):
    partner = await set_up(world, imap)
    now = datetime.now(UTC)
    for subject, date in (("old", now - timedelta(hours=12)), ("new", now + timedelta(minutes=1))):
        imap.deliver("joe", dated(date, subject))
    imap.deliver("joe", re.sub(rb"Date: [^\r]*\r\n", b"", mail("undated")))
    imap.on("UID FETCH", rewriting(rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "00-Jan-0000 00:00:00 +0000"'))
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(functools.partial(main.serve, timing=TIMING), world.settings):
        await all_have(world, {"joe": []}, ["before_connect", "delivered", "delivered"])


COMMANDS = ("EXAMINE", "STATUS", "UID SEARCH", "UID FETCH", "NOOP", "DONE")


def everywhere(pattern: bytes, replacement: bytes | Callable[[re.Match[bytes]], bytes]) -> Deviation:
    return [(command, rewriting(pattern, replacement)) for command in COMMANDS]


LAST = rb"(?<=\r\n)(\w+) OK( [^\r]*)?\r\n\Z"
STATUSES: Mapping[str, Deviation] = {
    "codes without text": everywhere(rb"(\* OK \[[^\r\]]*\])[^\r]*", rb"\1"),
    "text without a blank": everywhere(rb"(\* OK \[[^\r\]]*\]) ", rb"\1"),
    "no blank before codes": everywhere(rb"OK \[", b"OK["),
    "tabs": everywhere(rb"\* (OK|SEARCH|\d+) ?", rb"*\t\1\t"),
    "two blanks": everywhere(rb"\* (OK|SEARCH|\d+)(?= )", rb"*  \1 "),
    "keywords in lower case": everywhere(
        rb"\b(OK|EXISTS|FETCH|SEARCH|UIDVALIDITY|UIDNEXT)\b", lambda m: m[0].lower()
    ),
    "tagged in lower case": everywhere(LAST, rb"\1 ok\2\r\n"),
    "tagged without text": everywhere(LAST, rb"\1 OK\r\n"),
    "tagged with a literal's mark": everywhere(LAST, rb"\1 OK done {12}\r\n"),
    "untagged with a literal's mark": everywhere(LAST, rb"* OK busy {12}\r\n* NO {3}\r\n\1 OK\2\r\n"),
    "after the tagged response": everywhere(
        LAST, rb"\1 OK\2\r\n* OK [HIGHESTMODSEQ 9] ok\r\n* LSUB () NIL x\r\n"
    ),
    "blank lines": everywhere(rb"\r\n(?=[*])", rb"\r\n\r\n  \r\n"),
    "NUL in texts": everywhere(LAST, rb"* OK a\0b\r\n\1 OK \0done\r\n"),
    "unknown responses": everywhere(
        LAST, rb"* X-NEW-THING (1 2)\r\n* VANISHED 1:2\r\n* ( \r\n*\r\n\1 OK\2\r\n"
    ),
    "codes in the tagged OK": everywhere(rb"OK \[READ-ONLY\]", b"OK [UIDNEXT 1]"),
}


async def test_mail_is_delivered_whatever_shape_status_responses_have(world, imap):
    imap.greeting = b"\r\n*\tOK[CAPABILITY IMAP4rev1]ready\r\n"
    async with watching(world, imap, STATUSES):
        await deliver_with_gaps(world, imap, STATUSES)


HUGE = b"19564493749195644937"
TOO_WIDE: Mapping[str, Deviation] = {
    "in SEARCH": [("UID SEARCH", rewriting(rb"\* SEARCH([ 0-9]*)", rb"* SEARCH\1 " + HUGE))],
    "in ESEARCH": [("UID SEARCH", rewriting(rb"\* SEARCH (\d+)[ 0-9]*", rb"* ESEARCH UID ALL \1," + HUGE))],
    "in FETCH": [
        ("UID SEARCH", UNSUPPORTED),
        ("FETCH", rewriting(LAST, rb"* 99 FETCH (UID " + HUGE + rb")\r\n\1 OK\2\r\n")),
    ],
}


async def test_uids_that_cannot_be_recorded_are_reported_and_hide_no_other_mail(world, imap):
    async with watching(world, imap, TOO_WIDE):
        await deliver_with_gaps(world, imap, TOO_WIDE)

        async def are_reported() -> bool:
            rows = await world.rows("SELECT status, status_reason FROM users")
            return all("above 9223372036854775807" in (row["status_reason"] or "") for row in rows)

        await eventually(are_reported, within=5)

    assert {row["status"] for row in await world.rows("SELECT status FROM users")} == {"watching"}
