"""Judgement of refused logins: by response code (RFC 5530), then by wording, in several languages.

The table in tests/unit/test_imap_refusals.py has the texts of servers and providers, with their sources.
"""

import re
from dataclasses import dataclass
from enum import Enum
from json import JSONDecodeError, loads

from superimap.imap.throttling import asks_for_pause


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
    "UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "OVERQUOTA", "SERVERBUG", "CLIENTBUG", "TRYLATER", "IN-USE",
    "LOGIN-DELAY", "SYS/TEMP",
}  # fmt: skip
_METHOD_CODES = {"CANNOT", "BADCHARSET"}


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TEMPORARY = _words(
    "tempora", "try again", r"\blater\b", "unavailable", "time.?out", "timed out", "limit", "internal", "busy",
    "overload", "not connected", "backend", r"(?:system|server|database|db|ldap) (?:error|failure|bug)",
    "maintenance", "shutting down", "starting up", "not ready", r"(?:could not|cannot|can't|unable to) connect",
    "connection (?:refused|lost|failed)", "in use", "already (?:logged|open)", "locked by another",
    "goodbye", "plus tard", "temporair", "temporan", "vorübergehend", "später", "más tarde", "mais tarde",
    "più tardi", "tijdelijk", "później", "tymczasow", "geçici", "daha sonra", "временн", "позже",
    "繁忙", "稍后", "稍後", "频繁", "一時的", "しばらく", "잠시", "일시",
)  # fmt: skip
# The credentials or the account, named as the cause.
_CREDENTIALS = _words(
    r"(?:invalid|incorrect|wrong|bad|unknown|unrecognized) (?:e?mail |user ?name|login|log-?in|logon|user|account|"
    "password|passwd|credential|auth|name)",
    r"(?:user|login|password|account|credentials?)\S* (?:or \S+ )?(?:is |are |was )?"
    "(?:not (?:correct|valid|found|known|exist|accepted)|error|incorrect|invalid|wrong|mismatch|rejected|denied)",
    "password", "passwort", "passwd", "mot de passe", "contraseñ", "senha", "wachtwoord", "hasło", "heslo",
    "parola", "şifre", "парол", "密码", "密碼", "授权码", "パスワード", "비밀번호",
    "no such user", "user .{0,80}not found", "abnormal", "web.?(?:login|browser)", "log ?in (?:via|to|with|at)",
    "account .{0,40}(?:locked|disabled|blocked|suspended|expired|closed)", "enable imap",
    "imap .{0,20}(?:disabled|not)",
    "basic authentication", "plaintext auth",
)  # fmt: skip
_ACCOUNT = _words(r"account (?:is )?(?:abnormal|locked|disabled)", r"password (?:is )?(?:incorrect|wrong)")
_FAILED = _words(
    r"(?:auth\w*|log-?in|logon|sign.?in) (?:\w+ )?(?:has )?fail", "login (?:incorrect|rejected|denied|bad|error)",
    "not authenticated", "access denied", "fehlgeschlagen", "échou", "falló", "falhou", "fallita", "не удал",
    "登录失败", "失敗",
)  # fmt: skip
# The command or the mechanism, named as the cause. The usage of LOGIN is iCloud's answer.
_METHOD = _words(
    "unsupport", "not supported", "no mechanism", r"mechanism (?:is )?(?:not|un)", "unknown mechanism",
    r"(?:unknown|unrecogni[sz]ed|invalid|illegal|bad|missing) (?:command|argument|parameter|mechanism|sequence)",
    r"command (?:is )?(?:not|un|error|syntax)", "not implemented", "authenticate is not enabled",
    "error in imap command", "syntax", "parse", "not ending with", "malformed", "base64", "initial response",
    r"login <?user\w*>? <?pass\w*",
)  # fmt: skip

# What the person can do, in the order of precedence.
_ADVICE = (
    (
        _words(
            r"app(?:lication)?[ -]?(?:specific)?[ -]?password",
            "parol prilozheniya",
            "授权码",
            "auth[a-z]* code",
        ),
        "The account needs an app password.",
    ),
    (
        _words("WEBALERT", "web.?(?:login|browser)", "verify your identity"),
        "The person must sign in at the provider's website first.",
    ),
    (
        _words("basic authentication"),
        "The server takes no passwords: the person must sign in with OAuth 2.0.",
    ),
    (
        _words(
            "enable imap",
            "imap .{0,20}disabled",
            "not (?:enabled|allowed) .{0,20}imap",
            "service is not open",
        ),
        "IMAP may be switched off in the account's settings.",
    ),
    (_words("PRIVACYREQUIRED", "plaintext auth"), "The server takes passwords only on connections with TLS."),
    (_words("EXPIRED", "password .{0,30}expire", "must change"), "The password has expired."),
    (
        _words(r"account\S* .{0,40}(?:locked|disabled|blocked|suspended|closed)"),
        "The account is locked or disabled.",
    ),
    (_words(r"\[REFERRAL"), "The account is on another server."),
)


def judge_refusal(answers: list[Answer], detail: str | None = None) -> Verdict:
    """Judge the answers to one login: the tagged NO or BAD, then untagged ones that came with it.

    `detail` is the provider's JSON of an OAuth refusal (RFC 7628 section 3.2.2).
    """
    for answer in answers:
        if (verdict := _by_code(answer.code)) is not None:
            return verdict
    if detail is not None and (http := _http_status(detail)):
        return Verdict.TEMPORARY if http.startswith("5") or http == "429" else Verdict.CREDENTIALS
    return _by_wording(answers[0].result, " ".join(answer.text for answer in answers))


def names_credentials(answer: Answer) -> bool:
    """Return whether an untagged NO, BAD or BYE, of a login that got no other answer, refuses the credentials."""
    verdict = _by_code(answer.code)
    if verdict is not None:
        return verdict is Verdict.CREDENTIALS
    text = answer.text
    if asks_for_pause(None, text) or _TEMPORARY.search(text) or _METHOD.search(text):
        return False
    return bool(_CREDENTIALS.search(text) or _FAILED.search(text))


def advice(answers: list[Answer]) -> str:
    """Return what the person can do about the refusal, in a sentence; empty if the text names nothing special."""
    text = " ".join(f"[{answer.code}] {answer.text}" for answer in answers)
    return next((sentence for pattern, sentence in _ADVICE if pattern.search(text)), "")


def _by_code(code: str | None) -> Verdict | None:
    if code in _TEMPORARY_CODES:
        return Verdict.TEMPORARY
    if code in _METHOD_CODES:
        return Verdict.METHOD
    return Verdict.CREDENTIALS if code in _PERMANENT_CODES else None


def _by_wording(result: str, text: str) -> Verdict:
    if asks_for_pause(None, text):
        return Verdict.UNCLEAR if _ACCOUNT.search(text) else Verdict.TEMPORARY
    if _METHOD.search(text):
        return Verdict.METHOD
    is_named = bool(_CREDENTIALS.search(text))
    if _TEMPORARY.search(text):
        return Verdict.UNCLEAR if is_named else Verdict.TEMPORARY
    if result == "NO" or is_named or _FAILED.search(text):
        return Verdict.CREDENTIALS
    return Verdict.METHOD


def _http_status(detail: str) -> str | None:
    try:
        answer = loads(detail)
    except (JSONDecodeError, RecursionError):
        return None
    return str(answer["status"]) if isinstance(answer, dict) and "status" in answer else None
