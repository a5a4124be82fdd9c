"""Thirty mails, each malformed in a different way; the corpus of the fuzzer."""

from __future__ import annotations

_OK = (
    b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: Ann <ann@example.com>\r\nTo: joe@example.com\r\n"
    b"Subject: hello\r\nMessage-ID: <%s@example.com>\r\nMIME-Version: 1.0\r\n"
)
_MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'


def _with(name: str, headers: bytes = b"", body: bytes = b"text\r\n", **replaced: bytes) -> bytes:
    """Build an ordinary mail with additional headers, another body, or other values of some headers."""
    lines = (_OK % name.replace(" ", "-").encode()).split(b"\r\n")
    for wanted, value in replaced.items():
        start = wanted.encode() + b":"
        lines = [start + b" " + value if line.lower().startswith(start) else line for line in lines]
    return b"\r\n".join(lines) + headers + b"\r\n" + body


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\xff",
    "only a line end": b"\r\n",
    "no header": b"\r\n\r\nMessage-ID: <body@example.com>\r\n",
    "no body": b"Subject: no body",
    "no colon": b"this is no header at all\r\nnor this\r\n\r\ntext\r\n",
    "begins with a fold": b"  folded from nothing\r\n" + _with("begins-with-a-fold"),
    "mbox line": b"From ann@example.com Mon Nov 23 10:00:00 2026\r\n" + _with("mbox line"),
    "byte order mark": b"\xef\xbb\xbf" + _with("byte order mark"),
    "lone line feeds": _with("lone line feeds").replace(b"\r\n", b"\n"),
    "lone carriage returns": _with("lone carriage returns").replace(b"\r\n", b"\r"),
    "mixed line ends": _with("mixed line ends", b"X-A: b\n\r\nX-C: d\r", b"a\r\n\nb\r\r\n"),
    "latin-1 headers": _with("latin-1 headers", subject=b"caf\xe9", **{"from": b"Ren\xe9 <r@example.com>"}),
    "cut utf-8": _with("cut utf-8", body=b"smile \xf0\x9f\x99", subject=b"\xf0\x9f"),
    "surrogates": _with("surrogates", body=b"\xed\xa0\x80 \xed\xb0\x80 \xc0\x80 \xf4\x90\x80\x80\r\n"),
    "utf-16": "Subject: hello\r\n\r\ntext\r\n".encode("utf-16"),
    "nul": _with("nul", body=b"a\0b\r\n\0\0", subject=b"n\0ul", **{"message-id": b"<n\0ul>"}),
    "controls": _with("controls", body=bytes(range(256)), subject=bytes(range(1, 9)) + b"\x7f\x1b[2J"),
    "encoded words": _with(
        "encoded words", subject=b"=?utf-8?b?////?= =?x-none?q?=ZZ?= =?=?= =?utf-8?x?y?= =?" + b"?" * 50
    ),
    "addresses": _with(
        "addresses", to=b'(((((,,;:<<>@@\\"\xff, joe', cc=b"x", **{"from": b'g: "a\\', "reply-to": b"<<<"}
    ),
    "groups in groups": _with("groups in groups", to=b"a: b: c: d@e;;; f:;, <@r,@s:t@u>"),
    "date": _with("date", date=b"Someday, 99 Foo 0000 99:99:99 +99999999999999999999"),
    "several of each": _with("several of each", _OK % b"other" * 3),
    "message-id": _with("message-id", **{"message-id": b"<" + b"\xe9" * 600 + b">"}),
    "empty values": b"From:\r\nTo: \r\nSubject:\r\n \r\n\t\r\nMessage-ID:\r\nDate:\r\n\r\ntext\r\n",
    "no end of the parts": _with("no end of the parts", _MIXED[:-2], b"--b\r\n\r\none\r\n--b\r\n"),
    "boundary": _with("boundary", b'Content-Type: multipart/mixed; boundary="\r\n', b'--"\r\n--\r\n----\r\n'),
    "parts in parts": _with("parts in parts", body=(_MIXED + b"--b\r\n") * 200),
    "transfer encodings": _with(
        "transfer encodings",
        b"Content-Transfer-Encoding: base64, x-none; =\r\n",
        b"====\r\n!\r\n=\r\n=XY\r\n",
    ),
    "parameters": _with(
        "parameters", b"Content-Type: text/plain; charset*0*=utf-9''%ZZ; charset*1=\"; name*99999999999=x\r\n"
    ),
}
