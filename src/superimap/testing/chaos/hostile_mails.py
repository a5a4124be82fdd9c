"""Mails that are hard to parse. Each has broken some mail program."""

from __future__ import annotations

MAX_MIME_DEPTH = 10_000
MIB = 1 << 20


def small_mail(subject: str, *, body: bytes = b"text\r\n") -> bytes:
    """Build an ordinary mail whose Message-ID is derived from its subject."""
    name = "".join(letter if letter.isalnum() else "-" for letter in subject)
    head = (
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: Fred <fred@example.com>\r\nTo: joe@example.com\r\n"
        f"Subject: {subject}\r\nMessage-ID: <{name}@chaos.example.com>\r\n\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + body


def hostile_mails(*, header: int = 10 * MIB, depth: int = MAX_MIME_DEPTH) -> dict[str, bytes]:
    """Build hostile mails, by what is wrong with each.

    One has a header line of `header` bytes, one a folded header of a tenth of that, one MIME nested `depth` deep.
    """
    return {
        "bad utf-8": small_mail("bad utf-8").replace(b"bad utf-8", b"caf\xe9 \xff\xfe", 1),
        "nul": small_mail("nul", body=b"a\0b\r\n\0").replace(b"Subject: nul", b"Subject: n\0ul", 1),
        "header": small_mail("header").replace(b"Subject: header", b"Subject: " + b"h" * header, 1),
        "references": small_mail("references").replace(
            b"From:", b"References: " + b"<r@example.com>\r\n " * (header // 170) + b"<r>\r\nFrom:", 1
        ),
        "deep": _deep(depth),
        "no header": b"\r\n\r\njust a body",
        "empty": b"",
        "only line feeds": small_mail("only line feeds").replace(b"\r\n", b"\n"),
        "addresses": small_mail("addresses").replace(b"To: joe", b'To: (((((,,;:<<>@@\\"\xff, joe', 1),
        "encoded words": small_mail("encoded words").replace(
            b"encoded words", b"=?utf-8?b?////?= =?x-none?q?=ZZ?= {42}", 1
        ),
    }


def _deep(depth: int) -> bytes:
    heads = [
        f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n' for level in range(depth)
    ]
    return small_mail("deep").split(b"\r\n\r\n")[0] + b"\r\n" + "".join(heads).encode() + b"\r\nthe end\r\n"
