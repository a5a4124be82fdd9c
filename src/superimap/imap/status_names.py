"""Names of mailboxes in STATUS responses (RFC 9051 section 7.3.4)."""

import re

from superimap.imap.encoding import decode_mailbox
from superimap.imap.response import MAX_PARSED_BYTES, Response

_NAME = re.compile(rb'\* STATUS +(?:"((?:[^"\\]|\\.)*+)"|(\{\d++\+?\}\Z)|([^\s"(]++))', re.IGNORECASE)
_ESCAPE = re.compile(rb'\\(["\\])')


def status_name(response: Response) -> bytes | None:
    """Return the bytes of the name in a STATUS response; None if there is none, as in any other response."""
    if response.text_bytes + sum(map(len, response.literals)) > MAX_PARSED_BYTES:
        return None
    match = _NAME.match(response.line)
    if match is None:
        return None
    quoted, literal, atom = match.groups()
    if literal is not None:
        return response.literals[0] if response.literals else None
    return atom if quoted is None else _ESCAPE.sub(rb"\1", quoted)


def folder_key(raw: bytes) -> str:
    """Return a name as it is compared: decoded, because Dovecot announces names in UTF-8 (seen in 2.3.19)."""
    return decode_mailbox(raw)
