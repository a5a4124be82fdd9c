"""Mailbox names in modified UTF-7 (RFC 3501 section 5.1.3)."""

import base64
import binascii
import re

_SHIFTED = re.compile(r"[^\x20-\x7e]+|&")
_ENCODED = re.compile(rb"&([A-Za-z0-9+,]*)-")


def encode_name(name: str) -> bytes:
    """Encode a mailbox name in modified UTF-7: `Entwürfe` is `Entw&APw-rfe`."""

    def shift(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        encoded = base64.b64encode(match[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
        return f"&{encoded.decode('ascii')}-"

    return _SHIFTED.sub(shift, name).encode("ascii")


def decode_name(wire: bytes) -> str:
    """Decode a mailbox name. Accepts raw UTF-8 too, as some clients send it. Raises ValueError if malformed."""

    def unshift(match: re.Match[bytes]) -> bytes:
        if not match[1]:
            return b"&"
        padded = match[1].replace(b",", b"/") + b"=" * (-len(match[1]) % 4)
        return base64.b64decode(padded).decode("utf-16-be").encode("utf-8")

    try:
        return _ENCODED.sub(unshift, wire).decode("utf-8")
    except binascii.Error as error:
        raise ValueError("not modified UTF-7") from error
