"""Removal of secrets from the texts of servers: a careless or hostile server may echo the login."""

import html
import json
import quopri
import re
from base64 import b64decode, b64encode
from itertools import takewhile
from urllib.parse import quote, quote_plus

from superimap.imap.errors import ImapError
from superimap.imap.statuses import decode_text
from superimap.imap.types import Credentials, Login

_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_LEAST_PREFIX_CHARS = 6  # a shorter beginning of a secret, within a text, remains
_LEAST_LAST_PREFIX_CHARS = 4  # the same at the end of a cut text
_LEAST_ENCODED_BYTES = 3  # shorter secrets occur in the base64 of anything


def redacted(error: ImapError, credentials: Credentials) -> ImapError:
    """Return the error without the secret of the credentials; `error` itself if it contains none."""
    arguments = [without_secrets(each, credentials) if isinstance(each, str) else each for each in error.args]
    return error if arguments == list(error.args) else type(error)(*arguments)


class Redactor:
    """`redacted` for the errors of one session."""

    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, error: ImapError) -> ImapError:
        return redacted(error, self._credentials)


def without_secrets(text: str, credentials: Credentials) -> str:
    """Replace the secret in `text`, whole or cut: plain, quoted, escaped, in base64, in any letter case."""
    secret = credentials.password if isinstance(credentials, Login) else credentials.access_token
    if not secret:
        return text
    forms = _forms(secret, credentials)
    for form in [*forms, secret[::-1]]:
        if len(form) <= len(text):
            text = _without(text, form, [form])
    text = _BASE64.sub(lambda run: "…" if _encodes(run[0], secret) else run[0], text)
    return _without_end(_without_beginnings(text, forms), forms)


def _without(text: str, begin: str, forms: list[str]) -> str:
    """Replace each part of the text that starts with `begin`, as far as it agrees with one of the forms.

    No regular expressions: `re` would keep the secrets in its cache.
    """
    folded, begin, forms = _folded(text), _folded(begin), [_folded(form[: len(text)]) for form in forms]
    start = 0
    while (start := folded.find(begin, start)) >= 0:
        end = start + max(_agreement(folded[start:], form) for form in forms)
        text, folded = f"{text[:start]}…{text[end:]}", f"{folded[:start]}…{folded[end:]}"
        start += 1
    return text


def _agreement(text: str, form: str) -> int:
    """Return the number of characters in which the beginnings agree."""
    if text.startswith(form):
        return len(form)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, form, strict=False)))


def _folded(text: str) -> str:
    """Return the text in lower case, of the same length."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(each.lower()[0] for each in text)


def _without_beginnings(text: str, forms: list[str]) -> str:
    """Replace each beginning of a form, which a server or a limit of ours has cut; the longest of all forms."""
    by_begin: dict[str, list[str]] = {}
    for form in forms:
        if len(form) > _LEAST_PREFIX_CHARS:
            by_begin.setdefault(_folded(form[:_LEAST_PREFIX_CHARS]), []).append(form)
    for begin, those in by_begin.items():
        text = _without(text, begin, those)
    return text


def _without_end(text: str, forms: list[str]) -> str:
    """Replace the beginning of a form at the end of the text."""
    folded = _folded(text)
    for length in range(_LEAST_PREFIX_CHARS, _LEAST_LAST_PREFIX_CHARS - 1, -1):
        for form in forms:
            if len(form) > length and folded.endswith(_folded(form[:length])):
                return text[:-length] + "…"
    return text


def _forms(secret: str, credentials: Credentials) -> list[str]:
    """Return the forms in which a server may know the secret, longest first."""
    raw, user = secret.encode(), credentials.username.encode()
    encoded = [
        raw, b"\0%s\0%s" % (user, raw), b"%s\0%s\0%s" % (user, user, raw),
        b"user=%s\1auth=Bearer %s\1\1" % (user, raw), b"n,a=%s,\1auth=Bearer %s\1\1" % (user, raw),
    ]  # fmt: skip
    plain = {
        secret,
        decode_text(raw, len(secret)),
        secret.replace("\\", "\\\\").replace('"', '\\"'),
        secret.encode("latin-1", "ignore").decode("utf-8", "replace"),
        repr(secret)[1:-1],
        repr(secret + "'\"")[1:-4],
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        "".join(f"&#{ord(each)};" for each in secret),
        json.dumps(secret)[1:-1],
        raw.hex(),
        raw.hex(" "),
        quopri.encodestring(raw).decode("ascii"),
        " ".join(secret),
    }
    return sorted(
        filter(None, {*plain, *(b64encode(each).decode() for each in encoded)}), key=len, reverse=True
    )


def _encodes(run: str, secret: str) -> bool:
    """Return whether a run of base64, at any of its four alignments, contains the secret or its beginning."""
    raw = secret.encode()[:_LEAST_PREFIX_CHARS]
    if len(raw) < _LEAST_ENCODED_BYTES:
        return False
    for start in range(4):
        piece = run[start:].rstrip("=")
        piece = piece[: len(piece) - (len(piece) % 4 == 1)]
        if raw.lower() in b64decode(piece + "=" * (-len(piece) % 4)).lower():
            return True
    return False
