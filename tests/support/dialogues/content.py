"""Reported headers of mails. Such a mail must neither be lost nor hold up the mails behind it."""

from __future__ import annotations

from tests.support.dialogues.dialogue import Dialogue, on

_TOP = b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <fred@example.com>\r\nTo: joe@example.com\r\n"


def with_headers(headers: bytes, top: bytes = _TOP) -> bytes:
    """A mail with these headers after the usual ones, or with other ones instead."""
    return top + headers + b"\r\ntext\r\n"


MAILS: dict[str, bytes] = {
    "S109": with_headers(b"Message-ID:  \r\n <some@example.com>MIME-Version: 1.0\r\nSubject: joined\r\n"),
    "S110": with_headers(b"Message-ID: faff5b13@example.com\r\n"),
    "S111": with_headers(b"Message-ID: <00E19E93@@example.com>\r\n"),
    "S112": with_headers(b"Message-ID: <[ABCDEF====@example.com]>\r\n"),
    "S113": with_headers(b"Message-ID: ACME1226@423549219_ACME1226@\r\n"),
    "S114": with_headers(b"Message-ID: <NMID-105-AA==@communication.exam\r\n\tple.com>\r\n"),
    "S115": with_headers(b"\r\nSubject: Order\r\nMessage-Id: <late@example.com>\r\n", b"To: joe@example.com\r\n"),
    "S116": b"Subject: no body\r\nMessage-ID: <s116@example.com>\r\nDear Joe, here it is.\r\nYours\r\n",
    "S117": with_headers(b"From: <<<@@>, ;:\"\xff\r\nMessage-ID: <s117@example.com>\r\n", b""),
    "S118": with_headers(
        b"From: a@example.com, Reply-To:b@example.com\r\nMessage-ID: <s118@example.com>\r\n", b""),
    "S119": b" folded into nothing\r\nSubject: second\r\nMessage-ID: <s119@example.com>\r\n\r\ntext\r\n",
    "S120": with_headers(b"Date: 6/31/2005\r\nDate: 12 FEB 25 11:28:27 UT/12 FEB 25 11:28:27 UT\r\n"
                         b"Message-ID: <s120@example.com>\r\n", b""),
}  # fmt: skip
DIALOGUES = [Dialogue(number, on("NOOP"), early=raw) for number, raw in MAILS.items()]
