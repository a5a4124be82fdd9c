"""Authentication: LOGIN, and SASL PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER (RFC 4616, 7628)."""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import Callable

from superimap.imap.command import Command
from superimap.imap.errors import AuthenticationFailed, Disconnected, ImapError, Refused
from superimap.imap.login_methods import (
    LoginMemory,
    LoginMethod,
    login_arguments,
    login_methods,
    offered_mechanisms,
    sasl_responses,
)
from superimap.imap.protocol import Protocol
from superimap.imap.refusals import Answer, Verdict, advice, judge_refusal, judge_untagged, without_names
from superimap.imap.statuses import decode_text, parse_status
from superimap.imap.throttling import asks_for_pause
from superimap.imap.types import Credentials, Login, OAuth

MAX_METHODS_PER_LOGIN = 3
"""Methods tried on one connection: servers count what they do not understand, and close after a few."""

MAX_UNTAGGED_ANSWERS = 5
"""Untagged answers of a login that are judged."""


class _Exchange:
    """A SASL exchange: the responses to send, and the provider's refusal of a token."""

    def __init__(self, responses: list[bytes], method: LoginMethod, submit: Callable[[], None]) -> None:
        # A server that ignores an initial response asks for it by an empty challenge.
        self._ignored = responses.pop(0) if method.has_initial_response else None
        self._responses = responses
        self._refusal = {"XOAUTH2": b"", "OAUTHBEARER": b"AQ=="}.get(method.form)
        self._submit = submit
        self.detail: str | None = None
        self.is_cancelled = False

    def challenge(self, text: bytes) -> bytes:
        """Answer a "+", whatever its text: by a response; later by the end of a refused or unknown exchange."""
        if self._ignored is not None and not text:
            self._responses, self._ignored = [self._ignored], None
        if self._responses:
            self._submit()
            return self._responses.pop(0)
        if self._refusal is None or self.detail is not None:
            self.is_cancelled = True
            return b"*"  # ends the exchange (RFC 9051 section 6.2.2)
        try:
            self.detail = decode_text(b64decode(text, validate=True))
        except ValueError:
            self.detail = decode_text(text)
        return self._refusal


async def authenticate(
    protocol: Protocol, credentials: Credentials, memory: LoginMemory, *, within: float, host: str = ""
) -> None:
    """Log in, by another method if the server does not take the first.

    Another method is tried only if the answer is about the command: credentials that the server has checked are
    not sent again. `host` is the server's name, which its texts may contain. Raises AuthenticationFailed if other
    credentials are needed, Refused if these may be accepted later, and Disconnected, TimedOut, ProtocolError or
    LimitExceeded as any command.
    """
    deadline = asyncio.get_running_loop().time() + within
    memory.begin()
    methods = await _usable_methods(protocol, credentials, memory, within)
    refused = _no_method(protocol, credentials)
    hint = ""
    for method in methods[:MAX_METHODS_PER_LOGIN]:
        left = max(deadline - asyncio.get_running_loop().time(), 0.1)
        attempt = _Attempt(protocol, credentials, method, memory, host)
        found = await attempt.run(left)
        if found is None:
            memory.accept(method)
            return
        refused, hint = found, attempt.advice
        await _drain(protocol, left)
    if not methods or len(methods) > MAX_METHODS_PER_LOGIN:  # the next login begins with the others
        raise refused
    memory.forget()
    raise AuthenticationFailed(refused.text, refused.code, advice=hint, is_certain=False)


async def _usable_methods(
    protocol: Protocol, credentials: Credentials, memory: LoginMemory, within: float
) -> list[LoginMethod]:
    """Return the methods that the server offers and has not refused; all of them if it has refused all."""
    methods = login_methods(credentials, protocol.capabilities)
    if not methods:  # greetings of some servers list less than CAPABILITY does
        with contextlib.suppress(Refused):
            await protocol.run("CAPABILITY", within=within)
        methods = login_methods(credentials, protocol.capabilities)
    return memory.order(methods) or methods


class _Attempt:
    """A login by one method."""

    def __init__(
        self,
        protocol: Protocol,
        credentials: Credentials,
        method: LoginMethod,
        memory: LoginMemory,
        host: str,
    ) -> None:
        self._protocol = protocol
        self._method = method
        self._memory = memory
        self._names = credentials.username, host
        self._command, self._exchange = _command(protocol, credentials, method, memory)
        self.advice = ""

    async def run(self, within: float) -> Refused | None:
        """Return None on success, the server's answer if it does not take the method. Raises every other error."""
        try:
            answer = await self._protocol.execute(self._command, within)
        except ImapError as error:
            raise self._explained(error) from None
        if answer.result == "OK":
            return None
        answers = [
            self._judged(Answer(answer.result, answer.status.code, answer.status.text)),
            *self._untagged(),
        ]
        refusal, detail = self._command.refusal(), self._exchange.detail
        self.advice = advice(answers)
        match Verdict.METHOD if self._exchange.is_cancelled else judge_refusal(answers, detail):
            case Verdict.TEMPORARY:
                raise refusal
            case Verdict.METHOD:
                self._memory.refuse(self._method)
                return refusal
            case verdict:
                is_certain = verdict is Verdict.CREDENTIALS
                raise AuthenticationFailed(refusal.text, refusal.code, detail, self.advice, is_certain)

    def _judged(self, answer: Answer) -> Answer:
        """Return the answer as it is judged: without names."""
        return Answer(answer.result, answer.code, without_names(answer.text, self._names))

    def _untagged(self) -> list[Answer]:
        """Return the untagged NO and BAD that came during the login: some servers explain themselves there."""
        return [self._judged(answer) for answer in _untagged(self._command)]

    def _explained(self, error: ImapError) -> ImapError:
        """Return AuthenticationFailed if the server refused the credentials without a tagged answer, else `error`.

        The method is remembered if the connection ended, or nothing came, for no other reason.
        """
        said = _untagged(self._command)
        if isinstance(error, Disconnected) and error.bye:
            said.append(Answer("BYE", error.code, error.bye))
        verdicts = {judge_untagged(self._judged(answer)): answer for answer in reversed(said)}
        for verdict in (Verdict.CREDENTIALS, Verdict.UNCLEAR):
            if (answer := verdicts.get(verdict)) is not None:
                is_certain = verdict is Verdict.CREDENTIALS
                hint = advice([self._judged(answer)])
                return AuthenticationFailed(answer.text, answer.code, None, hint, is_certain)
        if Verdict.METHOD in verdicts:
            self._memory.refuse(self._method)
        elif not any(asks_for_pause(answer.code, answer.text) for answer in said):
            self._memory.miss_answer(self._method)
        return error


def _command(
    protocol: Protocol, credentials: Credentials, method: LoginMethod, memory: LoginMemory
) -> tuple[Command, _Exchange]:
    tag, wanted = protocol.new_tag(), "NO BAD"
    if method.command == "LOGIN" and isinstance(credentials, Login):
        arguments = login_arguments(credentials, method.form)
        memory.submit()
        return Command("LOGIN", tag, *arguments, wanted=wanted), _Exchange([], method, memory.submit)
    responses = sasl_responses(credentials, method.form)
    initial = [responses[0].decode("ascii")] if method.has_initial_response else []
    command = Command("AUTHENTICATE", tag, method.form, *initial, wanted=wanted)
    exchange = _Exchange(responses, method, memory.submit)
    command.challenge = exchange.challenge
    if initial:
        memory.submit()
    return command, exchange


def _untagged(command: Command) -> list[Answer]:
    """Return the untagged NO and BAD that came during a login: some servers explain themselves there."""
    answers = []
    for response in command.responses[:MAX_UNTAGGED_ANSWERS]:
        result, _, text = response.line[2:].partition(b" ")
        said = parse_status(text)
        answers.append(Answer(result.decode("ascii").upper(), said.code, said.text))
    return answers


async def _drain(protocol: Protocol, within: float) -> None:
    """Let everything arrive that belongs to a refused login: some servers send a "+" after their BAD."""
    with contextlib.suppress(Refused):
        await protocol.run("NOOP", within=within)


def _no_method(protocol: Protocol, credentials: Credentials) -> Refused:
    """Return the error for a server that offers no method for these credentials."""
    offered = offered_mechanisms(protocol.capabilities)
    if isinstance(credentials, OAuth):
        wanted = credentials.mechanism or "XOAUTH2 or OAUTHBEARER"
        return Refused("AUTHENTICATE", "NO", f"{wanted} is not offered by the server (it offers {offered})")
    return Refused("LOGIN", "NO", f"the server accepts no password on this connection (it offers {offered})")
