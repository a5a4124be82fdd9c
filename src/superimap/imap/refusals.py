"""Judgement of refused logins: by response code (RFC 5530), then by wording, in several languages.

The table in tests/unit/test_imap_refusals.py has the texts of servers and providers, with their sources.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from json import JSONDecodeError, loads

from superimap.imap import refusal_words, throttling


class Verdict(Enum):
    """What a refused login means for the next one."""

    CREDENTIALS = "credentials"  # the same credentials would be refused again
    UNCLEAR = "unclear"  # a wrong password is one of several possible causes
    TEMPORARY = "temporary"  # the same credentials may be accepted later
    METHOD = "method"  # the command or mechanism is not taken; the credentials were not checked


@dataclass(frozen=True, slots=True)
class Answer:
    """A NO or BAD to a login: its response code in capitals, and its text."""

    result: str
    code: str | None
    text: str


_PERMANENT_CODES = {
    "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "WEBALERT", "CONTACTADMIN",
    "NOPERM", "REFERRAL", "AUTH", "SYS/PERM",
}  # fmt: skip
_TEMPORARY_CODES = {
    "UNAVAILABLE", "INUSE", "SERVERBUG", "CORRUPTION", "TRYLATER", "IN-USE", "LOGIN-DELAY", "SYS/TEMP", "TEMPFAIL",
    *throttling.THROTTLING_CODES,
}  # fmt: skip
_METHOD_CODES = {"CANNOT", "BADCHARSET", "CLIENTBUG"}
_MAX_JUDGED_CHARACTERS = 1000
_ADDRESS = re.compile(r"https?://\S+|[^\s<>\"'(),;:]{1,64}@[^\s<>\"'(),;]+")


def _pattern(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# What the person can do, in the order of precedence.
_ADVICE = (
    (
        _pattern(
            r"app(?:lication)?[ -]?(?:specific)?[ -]?password",
            "parol prilozheniya",
            "授权码",
            "auth[a-z]* code",
        ),
        "The account needs an app password.",
    ),
    (
        _pattern("WEBALERT", "web.?(?:login|browser)", "verify your identity"),
        "The person must sign in at the provider's website first.",
    ),
    (
        _pattern("basic authentication"),
        "The server takes no passwords: the person must sign in with OAuth 2.0.",
    ),
    (
        _pattern(
            "enable imap",
            "imap .{0,20}disabled",
            "not (?:enabled|allowed) .{0,20}imap",
            "service is not open",
        ),
        "IMAP may be switched off in the account's settings.",
    ),
    (
        _pattern("PRIVACYREQUIRED", "plaintext auth"),
        "The server takes passwords only on connections with TLS.",
    ),
    (_pattern("EXPIRED", "password .{0,30}expire", "must change"), "The password has expired."),
    (
        _pattern(r"account\S* .{0,40}(?:locked|disabled|blocked|suspended|closed)"),
        "The account is locked or disabled.",
    ),
    (_pattern(r"\[REFERRAL"), "The account is on another server."),
)


def without_names(text: str, names: Iterable[str]) -> str:
    """Remove the addresses, and the names of the user and the server, from a text: they are no reasons.

    `names` may be mail addresses and host names, whose parts are names as well.
    """
    text = _ADDRESS.sub("…", text)
    parts = {part for name in names for part in (name, *name.split("@"), name.partition(".")[2])}
    known = "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True) if part)
    return re.sub(rf"(?<![^\W_])(?:{known})(?![^\W_])", "…", text, flags=re.IGNORECASE) if known else text


def judge_refusal(answers: list[Answer], detail: str | None = None) -> Verdict:
    """Judge the answers to one login: the tagged NO or BAD, then untagged ones that came with it.

    `detail` is the provider's JSON of an OAuth refusal (RFC 7628 section 3.2.2).
    """
    for answer in answers:
        if (verdict := _by_code(answer)) is not None:
            return verdict
    if detail is not None and (http := _http_status(detail)):
        return Verdict.TEMPORARY if http.startswith("5") or http == "429" else Verdict.CREDENTIALS
    is_bad = answers[0].result == "BAD"
    text = " ".join(f"{answer.code or ''} {answer.text}".strip() for answer in answers)
    unknown = Verdict.CREDENTIALS if detail is not None else Verdict.METHOD if is_bad else Verdict.UNCLEAR
    return _by_wording(text, is_bad=is_bad) or unknown


def judge_untagged(answer: Answer) -> Verdict | None:
    """Judge an untagged NO, BAD or BYE, of a login that got no other answer; None if it gives no reason."""
    return _by_code(answer) or _by_wording(answer.text)


def advice(answers: list[Answer]) -> str:
    """Return what the person can do about the refusal, in a sentence; empty if the text names nothing special."""
    text = " ".join(f"[{answer.code}] {answer.text}" for answer in answers)
    return next((sentence for pattern, sentence in _ADVICE if pattern.search(text)), "")


def _by_code(answer: Answer) -> Verdict | None:
    """Judge by the response code. If it blames the credentials and the text blames the server, it is unclear."""
    if answer.code in _TEMPORARY_CODES:
        return Verdict.TEMPORARY
    if answer.code in _METHOD_CODES:
        return Verdict.METHOD
    if answer.code in _PERMANENT_CODES:
        is_state = _by_wording(answer.text) is Verdict.TEMPORARY and not refusal_words.AGAIN.search(
            answer.text
        )
        return Verdict.UNCLEAR if is_state else Verdict.CREDENTIALS
    return None


def _by_wording(text: str, *, is_bad: bool = False) -> Verdict | None:
    """Judge by words; None if the text has none that are known.

    Many servers add "try again" to the refusal of a wrong password: together they are unclear. A BAD that names
    the command is about it, whatever else it names.
    """
    text = text[:_MAX_JUDGED_CHARACTERS]
    rest = throttling.without_requests(text)
    is_passing = rest != text or refusal_words.STATE.search(rest) is not None
    asks_again = refusal_words.AGAIN.search(rest) is not None
    names_method = rest == text and refusal_words.METHOD.search(rest) is not None
    if refusal_words.ACCOUNT.search(rest) and not (is_bad and names_method):
        return Verdict.UNCLEAR if is_passing or asks_again else Verdict.CREDENTIALS
    if names_method:
        return Verdict.METHOD
    if is_passing:
        return Verdict.TEMPORARY
    if refusal_words.FAILED.search(rest):
        return Verdict.UNCLEAR if asks_again else Verdict.CREDENTIALS
    return Verdict.TEMPORARY if asks_again else None


def _http_status(detail: str) -> str | None:
    try:
        answer = loads(detail)
    except (JSONDecodeError, RecursionError):
        return None
    return str(answer["status"]) if isinstance(answer, dict) and "status" in answer else None
