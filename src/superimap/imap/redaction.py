"""Removal of secrets from the texts of servers: a careless or hostile server may echo the login."""

import html
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
    text = re.sub("|".join(map(re.escape, forms)), "…", text, flags=re.IGNORECASE)
    text = _BASE64.sub(lambda run: "…" if _encodes(run[0], secret) else run[0], text)
    for form in forms:
        text = _without_beginning(text, form)
    return text


def _without_beginning(text: str, form: str) -> str:
    """Replace each beginning of `form`, which a server or a limit of ours has cut."""
    if len(form) > _LEAST_PREFIX_CHARS:
        begin = re.compile(re.escape(form[:_LEAST_PREFIX_CHARS]), re.IGNORECASE)
        position = 0
        while found := begin.search(text, position):
            rest = zip(text[found.end() :].lower(), form[_LEAST_PREFIX_CHARS:].lower(), strict=False)
            end = found.end() + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], rest))
            text, position = f"{text[: found.start()]}…{text[end:]}", found.start() + 1
    for length in range(min(len(form) - 1, _LEAST_PREFIX_CHARS), _LEAST_LAST_PREFIX_CHARS - 1, -1):
        if text.lower().endswith(form[:length].lower()):
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
