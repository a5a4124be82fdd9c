"""Logins on real sockets: methods that a server does not take are replaced, refused credentials are sent once."""

from __future__ import annotations

import contextlib
import random
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from superimap.imap.connection import connect
from superimap.imap.errors import (
    AuthenticationFailed,
    Disconnected,
    ImapError,
    OutOfSync,
    Refused,
    TimedOut,
    TlsFailed,
)
from superimap.imap.login_methods import LoginMemory
from superimap.imap.sasl import MAX_METHODS_PER_LOGIN
from superimap.imap.types import Login, OAuth, ServerAddress, Timeouts
from superimap.testing.imap.script import Dialogue, ScriptedServer, Step, send

FAST = Timeouts(connect=2, login=0.4, command=2, logout=0.05)
USER, ZOE, TOKEN = Login("ann", "s3cret"), Login("zoë", "pässwörd"), OAuth("ann", "s3cret")
DENIED = b"NO [AUTHENTICATIONFAILED] Invalid credentials"
CLOSE = b"close"

Answer = Callable[[str, int], bytes | None]
"""Answers a line of the client by lines with `%t` for the tag; None sends nothing. The number counts the lines."""


def b64(text: str) -> bytes:
    return b64encode(text.encode())


def converse(answer: Answer) -> Step:
    """Answer each line of the client until it leaves."""

    async def step(dialogue: Dialogue) -> None:
        with contextlib.suppress(AssertionError):
            while True:
                line = (await dialogue.line()).decode()
                if re.match(r"[A-Z]+[0-9]+ ", line):
                    dialogue.tag = line.split(" ")[0].encode()
                said = answer(line, len(dialogue.received))
                if said == CLOSE:
                    dialogue.writer.close()
                elif said is not None:
                    await dialogue.write(said.replace(b"%t", dialogue.tag) + b"\r\n")

    return step


def server(capabilities: str, *answers: tuple[str, bytes | None]) -> ScriptedServer:
    """A server that answers by the first rule whose text is in the line; NOOP, CAPABILITY and LOGOUT by OK."""

    def answer(line: str, _number: int) -> bytes | None:
        for text, said in answers:
            if text in line:
                return said
        if "CAPABILITY" in line:
            return b"* CAPABILITY IMAP4rev1 %s\r\n%%t OK done" % capabilities.encode()
        return b"%t OK done" if " NOOP" in line or " LOGOUT" in line else b"%t BAD Unknown command"

    return ScriptedServer(
        send(b"* OK [CAPABILITY IMAP4rev1 %s] hello\r\n" % capabilities.encode()), converse(answer)
    )


@contextlib.asynccontextmanager
async def session(
    way: ScriptedServer, who: Login | OAuth = USER, memory: LoginMemory | None = None
) -> AsyncIterator[None]:
    where = ServerAddress("127.0.0.1", way.port, "none")
    async with connect(where, who, timeouts=FAST, login_memory=memory):
        yield


def attempts(way: ScriptedServer) -> list[str]:
    """Each command that logs in, without its tag; and what follows a "+"."""
    lines = [line.decode() for dialogue in way.dialogues for line in dialogue.received]
    others = ("NOOP", "CAPABILITY", "LOGOUT")
    return [line.partition(" ")[2] or line for line in lines if not any(word in line for word in others)]


PLAIN = b64("\0ann\0s3cret").decode()
OK = b"%t OK in"

ACCEPTED = [
    ("the usual way", "AUTH=PLAIN SASL-IR", USER, [("LOGIN", OK)], ['LOGIN "ann" "s3cret"']),
    (
        "only SASL LOGIN", "LOGINDISABLED AUTH=LOGIN SASL-IR", USER,
        [("AUTHENTICATE LOGIN", b"+ VXNlcm5hbWU6"), (b64("ann").decode(), b"+ UGFzc3dvcmQ6"),
         (b64("s3cret").decode(), OK)],
        ["AUTHENTICATE LOGIN", b64("ann").decode(), b64("s3cret").decode()],
    ),
    (
        "SASL LOGIN with empty challenges", "LOGINDISABLED AUTH=LOGIN", USER,
        [("AUTHENTICATE LOGIN", b"+"), (b64("ann").decode(), b"+ "), (b64("s3cret").decode(), OK)],
        ["AUTHENTICATE LOGIN", b64("ann").decode(), b64("s3cret").decode()],
    ),
    (
        "SASL LOGIN with challenges that are not base64", "LOGINDISABLED AUTH=LOGIN", ZOE,
        [("AUTHENTICATE LOGIN", b"+ user, please!"), (b64("zoë").decode(), b"+ and now?"),
         (b64("pässwörd").decode(), OK)],
        ["AUTHENTICATE LOGIN", b64("zoë").decode(), b64("pässwörd").decode()],
    ),
    (
        "LOGIN is BAD, PLAIN works", "AUTH=PLAIN SASL-IR", USER,
        [(" LOGIN ", b"%t BAD Unknown command"), ("AUTHENTICATE PLAIN", OK)],
        ['LOGIN "ann" "s3cret"', f"AUTHENTICATE PLAIN {PLAIN}"],
    ),
    (
        "an initial response is BAD", "LOGINDISABLED AUTH=PLAIN SASL-IR", USER,
        [(f"PLAIN {PLAIN}", b"%t BAD Request not ending with \\r\\n"), ("AUTHENTICATE PLAIN", b"+ "), (PLAIN, OK)],
        [f"AUTHENTICATE PLAIN {PLAIN}", "AUTHENTICATE PLAIN", PLAIN],
    ),
    (
        "an initial response is ignored", "LOGINDISABLED AUTH=PLAIN SASL-IR", USER,
        [("AUTHENTICATE PLAIN", b"+ "), (PLAIN, OK)],
        [f"AUTHENTICATE PLAIN {PLAIN}", PLAIN],
    ),
    (
        "the announced mechanism is refused at once", "LOGINDISABLED AUTH=PLAIN AUTH=LOGIN", USER,
        [("AUTHENTICATE PLAIN", b"%t NO Unsupported authentication mechanism."), ("AUTHENTICATE LOGIN", b"+"),
         (b64("ann").decode(), b"+"), (b64("s3cret").decode(), OK)],
        ["AUTHENTICATE PLAIN", "AUTHENTICATE LOGIN", b64("ann").decode(), b64("s3cret").decode()],
    ),
    (
        "a plus after the BAD", "AUTH=PLAIN", USER,
        [(" LOGIN ", b"%t BAD no\r\n+ go on"), ("AUTHENTICATE PLAIN", b"+ "), (PLAIN, OK)],
        ['LOGIN "ann" "s3cret"', "AUTHENTICATE PLAIN", PLAIN],
    ),
    (
        "quotes are BAD", "", USER,
        [('"ann"', b"%t BAD Invalid characters in atom"), ("LOGIN {3}", b"+ "), ("ann {6}", b"+ "), ("s3c", OK)],
        ['LOGIN "ann" "s3cret"', "LOGIN {3}", "{6}", "s3cret"],
    ),
    (
        "quotes and literals are BAD", "LITERAL+", USER,
        [('"ann"', b"%t BAD quotes"), ("{", b"%t BAD Invalid literal size"), ("LOGIN ann s3cret", OK)],
        ['LOGIN "ann" "s3cret"', "LOGIN {3}", "LOGIN ann s3cret"],
    ),
    (
        "an exchange that asks for more is ended", "LOGINDISABLED AUTH=PLAIN AUTH=LOGIN", USER,
        [("AUTHENTICATE PLAIN", b"+ "), (PLAIN, b"+ and your PIN"), ("*", b"%t BAD cancelled"),
         ("AUTHENTICATE LOGIN", b"+"), (b64("ann").decode(), b"+"), (b64("s3cret").decode(), OK)],
        ["AUTHENTICATE PLAIN", PLAIN, "*", "AUTHENTICATE LOGIN", b64("ann").decode(), b64("s3cret").decode()],
    ),
    (
        "a token's initial response is BAD", "AUTH=XOAUTH2 SASL-IR", TOKEN,
        [("XOAUTH2 ", b"%t BAD Request not ending with"), ("AUTHENTICATE XOAUTH2", b"+ "), ("dXNlcj1", OK)],
        None,
    ),
    (
        "XOAUTH2 is refused as a mechanism", "AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", TOKEN,
        [("XOAUTH2", b"%t NO [CANNOT] Unknown mechanism"), ("OAUTHBEARER", OK)],
        None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("capabilities", "who", "rules", "expected"),
    [row[1:] for row in ACCEPTED],
    ids=[row[0] for row in ACCEPTED],
)
async def test_a_method_that_the_server_does_not_take_is_followed_by_another(
    capabilities, who, rules, expected
):
    async with server(capabilities, *rules) as way, session(way, who):
        pass

    assert expected is None or attempts(way) == expected
    assert (
        len([line for line in attempts(way) if line.startswith(("LOGIN", "AUTH"))]) <= MAX_METHODS_PER_LOGIN
    )


DENY = AuthenticationFailed
REFUSED = [
    ("a wrong password", "AUTH=PLAIN SASL-IR AUTH=LOGIN", USER, [(" LOGIN ", b"%t " + DENIED)], DENY),
    ("a BAD that names it", "AUTH=PLAIN", USER, [(" LOGIN ", b"%t BAD Invalid user or password")], DENY),
    ("untagged, then BYE", "AUTH=PLAIN", USER, [(" LOGIN ", b"* " + DENIED + b"\r\n* BYE bye")], DENY),
    ("untagged, then silence", "AUTH=PLAIN", USER, [(" LOGIN ", b"* " + DENIED)], DENY),
    ("a BYE that names it", "AUTH=PLAIN", USER, [(" LOGIN ", b"* BYE Authentication failed")], DENY),
    ("a BYE with its code", "AUTH=PLAIN", USER, [(" LOGIN ", b"* BYE [AUTHENTICATIONFAILED] x")], DENY),
    ("a BYE that does not", "AUTH=PLAIN", USER, [(" LOGIN ", b"* BYE Too many login failures")], Disconnected),
    ("a close", "AUTH=PLAIN", USER, [(" LOGIN ", CLOSE)], Disconnected),
    ("a plus, and nothing else", "AUTH=PLAIN", USER, [(" LOGIN ", b"+ go on")], TimedOut),
    ("temporarily", "AUTH=PLAIN", USER, [(" LOGIN ", b"%t NO [UNAVAILABLE] Authentication failed")], Refused),
    ("temporarily by BAD", "AUTH=PLAIN", USER, [(" LOGIN ", b"%t BAD User is not connected.")], Refused),
    ("another tag", "AUTH=PLAIN", USER, [(" LOGIN ", b"s3cret BAD unknown")], OutOfSync),
    ("a token", "AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", TOKEN, [("XOAUTH2", b"%t NO LOGIN failed.")], DENY),
]  # fmt: skip


@pytest.mark.parametrize(
    ("capabilities", "who", "rules", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_refused_credentials_are_submitted_once(capabilities, who, rules, error):
    async with server(capabilities, *rules) as way:
        with pytest.raises(error) as caught:
            async with session(way, who):
                pass

    assert type(caught.value) is error
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    assert len(attempts(way)) == 1
    if error is AuthenticationFailed:
        assert caught.value.is_certain


async def test_an_answer_with_several_causes_is_told_as_uncertain():
    answer = b"%t NO Login fail. Account is abnormal, password is incorrect, or system is busy."
    async with server("AUTH=PLAIN", (" LOGIN ", answer)) as way:
        with pytest.raises(AuthenticationFailed) as caught:
            async with session(way):
                pass

    assert not caught.value.is_certain
    assert len(attempts(way)) == 1


async def test_bad_to_every_method_is_told_as_uncertain_and_not_repeated_on_the_connection():
    memory = LoginMemory()
    async with server(
        "AUTH=PLAIN", ("LOGIN", b"%t BAD tag LOGIN username password"), ("PLAIN", b"%t BAD x")
    ) as way:
        errors: list[ImapError] = []
        for _ in range(2):
            with pytest.raises((AuthenticationFailed, Refused)) as caught:
                async with session(way, memory=memory):
                    pass
            errors.append(caught.value)

    commands = attempts(way)
    assert [type(error) for error in errors] == [Refused, AuthenticationFailed]
    assert not errors[1].is_certain  # type: ignore[attr-defined]
    assert len(commands) == len(set(commands)) == 4


async def test_the_method_that_worked_is_the_first_of_the_next_login():
    memory = LoginMemory()
    rules = [(" LOGIN ", b"%t BAD Unknown command"), ("AUTHENTICATE PLAIN", b"+ "), (PLAIN, OK)]
    async with server("AUTH=PLAIN", *rules) as way:
        for _ in range(2):
            async with session(way, memory=memory):
                pass

    assert [line.split(" ")[0] for line in attempts(way)] == [
        "LOGIN",
        "AUTHENTICATE",
        PLAIN,
        "AUTHENTICATE",
        PLAIN,
    ]
    assert not memory.has_submitted


@pytest.mark.parametrize("who", [USER, TOKEN])
async def test_a_server_without_a_method_for_the_credentials_gets_none_and_the_error_lists_its_own(who):
    async with server("LOGINDISABLED AUTH=CRAM-MD5 AUTH=DIGEST-MD5") as way:
        with pytest.raises(Refused, match="offers CRAM-MD5, DIGEST-MD5"):
            async with session(way, who):
                pass

    assert attempts(way) == []


async def test_capabilities_that_the_greeting_omits_are_asked_for():
    def answer(line: str, _number: int) -> bytes | None:
        if "CAPABILITY" in line:
            return b"* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN SASL-IR\r\n%t OK done"
        return OK if "AUTHENTICATE PLAIN" in line or " LOGOUT" in line else b"%t BAD x"

    async with (
        ScriptedServer(send(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello\r\n"), converse(answer)) as way,
        session(way),
    ):
        pass

    assert attempts(way) == [f"AUTHENTICATE PLAIN {PLAIN}"]


async def test_a_server_that_refuses_capability_gets_a_login():
    def answer(line: str, _number: int) -> bytes | None:
        return b"%t BAD Unknown command" if "CAPABILITY" in line else OK

    async with ScriptedServer(send(b"* OK hello\r\n"), converse(answer)) as way, session(way):
        pass

    assert attempts(way) == ['LOGIN "ann" "s3cret"']


@pytest.mark.parametrize("refusal", [b"%t NO not today", b"%t BAD Unknown command", CLOSE])
async def test_starttls_offered_by_capability_alone_is_used_and_its_refusal_ends_the_session(refusal):
    def answer(line: str, _number: int) -> bytes | None:
        if "STARTTLS" in line:
            return refusal
        return b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n%t OK done" if "CAPABILITY" in line else OK

    async with ScriptedServer(send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n"), converse(answer)) as way:
        with pytest.raises(TlsFailed, match="STARTTLS failed"):
            async with connect(ServerAddress("127.0.0.1", way.port, "starttls"), USER, timeouts=FAST):
                pass

    assert [line for line in attempts(way) if "STARTTLS" not in line] == []


ANYTHING: Sequence[bytes | None] = [
    b"%t OK in", b"%t NO no", b"%t BAD bad", b"%t BAD Unknown command", b"%t NO [CANNOT] x", b"%t " + DENIED,
    b"+ ", b"+ eyJzdGF0dXMiOiI0MDAifQ==", b"* " + DENIED, b"* BYE gone", b"%t NO [UNAVAILABLE] x", CLOSE,
    b"x BAD s3cret",
    b"%t BAD no\r\n+ ", b"* CAPABILITY IMAP4rev1", b"%t NO AHMzY3JldAB0MGtlbi1zM2NyZXQ= s3cret czNjcmV0",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(16))
async def test_whatever_the_server_answers_credentials_are_submitted_at_most_three_times(seed):
    chance = random.Random(seed)
    who: Login | OAuth = chance.choice([USER, TOKEN])
    offered = " ".join(
        each
        for each in ("SASL-IR", "AUTH=PLAIN", "AUTH=LOGIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER")
        if chance.random() < 0.8
    )
    greeting = send(b"* OK [CAPABILITY IMAP4rev1 %s] hello\r\n" % offered.encode())
    quick = Timeouts(connect=0.2, login=0.1, command=0.1, logout=0.01)
    memory = LoginMemory()
    async with ScriptedServer(greeting, converse(lambda _line, _number: chance.choice(ANYTHING))) as way:
        for _ in range(3):
            told = ""
            try:
                async with connect(
                    ServerAddress("127.0.0.1", way.port, "none"), who, timeouts=quick, login_memory=memory
                ):
                    pass
            except ImapError as error:
                told = str(error) + repr(error)
            assert "s3cret" not in told
            assert "czNjcmV0" not in told

    for dialogue in way.dialogues:
        commands = [line for line in dialogue.received if b" LOGIN " in line or b" AUTHENTICATE " in line]
        assert len(commands) <= MAX_METHODS_PER_LOGIN
        shown = [line for line in dialogue.received if b"s3cret" in line or _decodes_to_secret(line)]
        assert len(shown) <= 2 * MAX_METHODS_PER_LOGIN


def _decodes_to_secret(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return b"s3cret" in b64decode(line.split(b" ")[-1])
    return False


async def test_a_plus_that_comes_late_after_a_bad_answers_no_other_login():
    late = [b"+ late\r\n"]

    def answer(line: str, _number: int) -> bytes | None:
        if " LOGIN " in line:
            return b"%t BAD no"
        first = late.pop() if late else b""
        if line.startswith("AGFub"):
            return OK
        return first + (
            b"+ " if "AUTHENTICATE" in line else b"%t BAD cancelled" if line == "*" else b"%t OK done"
        )

    greeting = send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n")
    async with ScriptedServer(greeting, converse(answer)) as way, session(way):
        pass

    assert attempts(way) == ['LOGIN "ann" "s3cret"', "AUTHENTICATE PLAIN", PLAIN]


@pytest.mark.parametrize("answer", [b"%t NO you are s3cret", b"* BYE s3cret", b"Z9 OK s3cret"])
async def test_a_secret_that_a_server_repeats_later_is_in_no_error(answer):
    """Errors of commands are recorded with the mail or the user, long before the connection ends."""
    async with server("", ("LOGIN", b"%t OK"), ("EXAMINE", answer)) as way:
        where = ServerAddress("127.0.0.1", way.port, "none")
        async with connect(where, USER, timeouts=FAST) as client:
            with pytest.raises(ImapError) as raised:
                await client.examine("INBOX")

    assert "s3cret" not in str(raised.value)
    assert "…" in str(raised.value)


SILENCE = None


@pytest.mark.parametrize(
    "answer", [CLOSE, b"* BYE", b"* BYE Internal error", SILENCE, b"x BAD what", b"garbage"]
)
async def test_a_method_without_an_answer_twice_in_a_row_is_left_out_while_another_works(answer):
    memory = LoginMemory()
    quick = Timeouts(connect=2, login=0.1, command=0.1, logout=0.01)
    async with server("AUTH=PLAIN SASL-IR", (" LOGIN ", answer), ("AUTHENTICATE PLAIN", OK)) as way:
        where = ServerAddress("127.0.0.1", way.port, "none")
        for _ in range(2):
            with pytest.raises(ImapError):
                async with connect(where, USER, timeouts=quick, login_memory=memory):
                    pass
        for _ in range(2):
            async with connect(where, USER, timeouts=quick, login_memory=memory):
                pass

    assert [line.split(" ")[0] for line in attempts(way)] == ["LOGIN"] * 2 + ["AUTHENTICATE"] * 2


async def test_an_exchange_that_ends_the_connection_is_left_out_where_login_works():
    memory = LoginMemory()
    rules = [("AUTHENTICATE PLAIN", b"+ "), ("AHpv", CLOSE), (" LOGIN {", b"+ "), ("zo", b"+ "), ("p", OK)]
    async with server("AUTH=PLAIN", *rules) as way:
        for _ in range(2):
            with pytest.raises(Disconnected):
                async with session(way, ZOE, memory):
                    pass
        async with session(way, ZOE, memory):
            pass

    assert sum("AUTHENTICATE" in line for line in attempts(way)) == 2


async def test_a_bye_about_the_method_leaves_it_out_at_once_and_one_about_the_load_does_not():
    for bye, expected in ((b"* BYE LOGIN is disabled", 1), (b"* BYE Too many connections", 3)):
        memory = LoginMemory()
        async with server("AUTH=PLAIN SASL-IR", (" LOGIN ", bye), ("AUTHENTICATE PLAIN", OK)) as way:
            for _ in range(3):
                with contextlib.suppress(Disconnected):
                    async with session(way, memory=memory):
                        pass
        assert sum(line.startswith("LOGIN") for line in attempts(way)) == expected


async def test_a_server_that_was_down_and_implements_login_alone_is_logged_into_again():
    memory, is_down = LoginMemory(), [True, True]

    def answer(line: str, _number: int) -> bytes | None:
        if " LOGIN " in line:
            return CLOSE if is_down and is_down.pop() else OK
        return b"%t OK done" if "NOOP" in line or "LOGOUT" in line else b"%t BAD Unknown command"

    greeting = send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=LOGIN] hello\r\n")
    async with ScriptedServer(greeting, converse(answer)) as way:
        for error in (Disconnected, Disconnected):
            with pytest.raises(error):
                async with session(way, memory=memory):
                    pass
        async with session(way, memory=memory):
            pass


async def test_an_announced_mechanism_that_is_refused_by_no_is_followed_by_login():
    refusal = b"%t NO AUTHENTICATE mechanism not supported, mate"
    rules = [("AUTHENTICATE", refusal), (" LOGIN {", b"+ "), ("zo", b"+ "), ("p", OK)]
    async with server("AUTH=PLAIN", *rules) as way, session(way, ZOE):
        pass


@pytest.mark.parametrize(
    "refusal",
    [
        b"%t NO LOGIN is disabled. Use AUTHENTICATE", b"%t NO PLAIN authentication disabled",
        b"%t NO command disabled", b"%t NO Authentication method not allowed",
        b"%t NO invalid SASL argument",
        b"%t BAD invalid base64",
        b"%t BAD [CLIENTBUG] Invalid argument", b"%t NO maintenance: LOGIN command not allowed",
    ],
)  # fmt: skip
async def test_a_no_about_the_method_is_followed_by_another_method(refusal):
    who = Login("maintenance", "s3cret")
    rules = [(" LOGIN ", refusal), ("AUTHENTICATE PLAIN", OK)]
    async with server("AUTH=PLAIN SASL-IR", *rules) as way, session(way, who):
        pass

    assert [line.split(" ")[0] for line in attempts(way)] == ["LOGIN", "AUTHENTICATE"]


async def test_the_name_of_the_user_is_no_reason_for_a_refusal():
    async with server("", (" LOGIN ", b"%t NO busy@limit.example: authentication failed")) as way:
        with pytest.raises(AuthenticationFailed) as caught:
            async with session(way, Login("busy@limit.example", "s3cret")):
                pass

    assert caught.value.is_certain
    assert "busy@limit.example" in caught.value.text
