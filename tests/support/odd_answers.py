"""Answers of odd receivers in raw bytes, and what each counts as.

The expected statuses are those that curl 7.88 reports, except where `curl` names another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HEADERS = b"Content-Length: 2\r\n\r\nok"
FINE = b"HTTP/1.1 200 OK\r\n" + HEADERS
LAST_CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BARE = b"HTTP/1.1 200 OK\r\n"
LONG_BODY = b"Content-Length: 20000\r\n\r\n" + b"x" * 16384  # the rest of it would answer the next request

Ending = Literal["keeps", "closes", "resets"]


@dataclass(frozen=True, slots=True)
class OddAnswer:
    """What a receiver sends, what it does with the connection, and the status and error that this counts as.

    `curl`: the status that curl reports, if it is another. `is_reused`: whether the connection is used again.
    """

    name: str
    sent: bytes
    status: int | None = 200
    error: str | None = None
    ending: Ending = "keeps"
    is_reused: bool = False
    curl: int | None = None
    body: str = "ok"


ODD_ANSWERS = (
    # Status lines
    OddAnswer("ordinary", FINE, is_reused=True),
    OddAnswer("name_in_lower_case", FINE.replace(b"HTTP", b"http"), is_reused=True),
    OddAnswer("no_reason_phrase", b"HTTP/1.1 200\r\n" + HEADERS, is_reused=True),
    OddAnswer("no_reason_but_a_blank", b"HTTP/1.1 200 \r\n" + HEADERS, is_reused=True),
    OddAnswer("no_blank_before_the_reason", b"HTTP/1.1 200OK\r\n" + HEADERS, is_reused=True),
    OddAnswer("two_blanks", b"HTTP/1.1  200  OK\r\n" + HEADERS, is_reused=True),
    OddAnswer("reason_not_ascii", b"HTTP/1.1 200 D\xe9j\xe0 vu\r\n" + HEADERS, is_reused=True),
    OddAnswer("reason_of_9_kib", b"HTTP/1.1 200 " + b"x" * 9216 + b"\r\n" + HEADERS, is_reused=True),
    OddAnswer("http_1_0", b"HTTP/1.0 200 OK\r\n" + HEADERS),
    OddAnswer(
        "http_1_0_kept", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + HEADERS, is_reused=True
    ),
    OddAnswer("http_2_in_text", b"HTTP/2 200\r\n" + HEADERS),
    OddAnswer("line_break_first", b"\r\n" + FINE, is_reused=True, curl=0),
    OddAnswer("status_299", FINE.replace(b"200", b"299"), 299, is_reused=True),
    OddAnswer("status_999", FINE.replace(b"200", b"999"), 999, is_reused=True),
    OddAnswer("status_of_four_digits", FINE.replace(b"200", b"2000"), None, "protocol", body=""),
    OddAnswer("status_of_two_digits", FINE.replace(b"200", b"20"), None, "protocol", body=""),
    OddAnswer("status_below_100", FINE.replace(b"200", b"099"), None, "protocol", body=""),
    OddAnswer("http_0_9", b"<html>ok</html>", None, "protocol", "closes", body=""),
    OddAnswer("icecast", FINE.replace(b"HTTP/1.1", b"ICY"), None, "protocol", body=""),
    OddAnswer("another_protocol", b"220 mail.example.com ESMTP\r\n", None, "protocol", body=""),
    OddAnswer("tls_alert", b"\x15\x03\x01\x00\x02\x02\x46", None, "protocol", "closes", body=""),
    OddAnswer("nothing", b"", None, "closed", "closes", body=""),
    OddAnswer("nothing_and_reset", b"", None, "closed", "resets", body=""),
    OddAnswer("half_a_status_line", b"HTTP/1.1 20", None, "closed", "closes", body=""),
    OddAnswer("status_line_without_end", b"HTTP/1.1 200 OK", None, "closed", "closes", body=""),
    # Headers
    OddAnswer("nothing_behind_the_status_line", BARE, 200, "closed", "closes", body=""),
    OddAnswer("reset_behind_the_status_line", BARE, 200, "closed", "resets", body=""),
    OddAnswer("closed_in_a_header", BARE + b"Retry-After: 7\r\nX-Ha", 200, "closed", "closes", body=""),
    OddAnswer("header_of_9_kib", BARE + b"Set-Cookie: " + b"x" * 9216 + b"\r\n" + HEADERS, is_reused=True),
    OddAnswer(
        "header_of_63_kib", BARE + b"Set-Cookie: " + b"x" * 64000 + b"\r\n" + HEADERS, is_reused=True
    ),
    OddAnswer("header_of_80_kib", BARE + b"X: " + b"x" * 81920 + b"\r\n" + HEADERS, 200, "protocol", body=""),
    OddAnswer("1000_headers", BARE + b"X-Trace: 1\r\n" * 1000 + HEADERS, is_reused=True),
    OddAnswer("line_feeds_only", FINE.replace(b"\r", b""), is_reused=True),
    OddAnswer("line_ends_mixed", b"HTTP/1.1 200 OK\nA: b\r\nContent-Length: 2\n\r\nok", is_reused=True),
    OddAnswer("folded_header", BARE + b"X-Long: a\r\n b\r\n\tc\r\n" + HEADERS, is_reused=True),
    OddAnswer("header_not_ascii", BARE + "X-Name: Zoë\r\n".encode() + HEADERS, is_reused=True),
    OddAnswer("header_with_nul", BARE + b"X: a\0b\r\n" + HEADERS, is_reused=True),
    OddAnswer("header_without_colon", BARE + b"OK thanks\r\n" + HEADERS, 200, "protocol"),
    OddAnswer("header_without_name", BARE + b": value\r\n" + HEADERS, is_reused=True),
    OddAnswer("blank_before_the_colon", BARE + b"Content-Length : 2\r\n\r\nok", is_reused=True),
    OddAnswer("header_names_in_upper_case", FINE.replace(b"Length", b"LENGTH"), is_reused=True),
    OddAnswer("connection_close", BARE + b"Connection: close\r\n" + HEADERS, ending="closes"),
    OddAnswer("connection_close_kept_open", BARE + b"Connection: Close\r\n" + HEADERS),
    OddAnswer("keep_alive_of_0_s", BARE + b"Keep-Alive: timeout=0, max=100\r\n" + HEADERS),
    # Interim answers
    OddAnswer("100_first", b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, is_reused=True),
    OddAnswer("102_and_103_first", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\n" + FINE, is_reused=True),
    OddAnswer("100_with_a_length", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + FINE, is_reused=True),
    OddAnswer("100_only", b"HTTP/1.1 100 Continue\r\n\r\n", None, "closed", "closes", body="", curl=100),
    OddAnswer("101", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 101, body=""),
    # Lengths
    OddAnswer("204", b"HTTP/1.1 204 No Content\r\n\r\n", 204, is_reused=True, body=""),
    OddAnswer("204_with_a_length", b"HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\n", 204, is_reused=True, body=""),
    OddAnswer("204_with_a_body", b"HTTP/1.1 204 N\r\n" + HEADERS, 204, "protocol", body=""),
    OddAnswer("204_in_chunks", CHUNKED.replace(b"200", b"204") + b"0\r\n\r\n", 204, "protocol", body=""),
    OddAnswer("304_with_a_length", b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", 304, is_reused=True, body=""),
    OddAnswer("no_length", BARE + b"\r\nok", ending="closes"),
    OddAnswer("no_length_and_reset", BARE + b"\r\nok", 200, "closed", "resets"),
    OddAnswer("length_twice", BARE + b"Content-Length: 2\r\n" + HEADERS, is_reused=True),
    OddAnswer("length_twice_in_one", BARE + b"Content-Length: 2, 2\r\n\r\nok", is_reused=True),
    OddAnswer("lengths_that_differ", BARE + b"Content-Length: 5\r\n" + HEADERS, 200, "protocol"),
    OddAnswer("length_negative", BARE + b"Content-Length: -2\r\n\r\nok", 200, "protocol"),
    OddAnswer("length_no_number", BARE + b"Content-Length: two\r\n\r\nok", 200, "protocol"),
    OddAnswer("length_empty", BARE + b"Content-Length:\r\n\r\nok", 200, "protocol"),
    OddAnswer("length_of_5000_digits", BARE + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nok", 200, "protocol"),
    OddAnswer("body_too_short", BARE + b"Content-Length: 9\r\n\r\nok", 200, "closed", "closes"),
    OddAnswer("body_too_short_and_reset", BARE + b"Content-Length: 9\r\n\r\nok", 200, "closed", "resets"),
    OddAnswer("body_too_long", FINE + b"more", 200, "protocol"),
    OddAnswer("body_longer_than_is_read", BARE + LONG_BODY, body="x" * 16384),
    OddAnswer("two_answers", FINE + FINE.replace(b"200", b"500"), 200, "protocol"),
    OddAnswer("line_break_too_many", FINE + b"\r\n", is_reused=True),
    OddAnswer("complete_and_reset", FINE, ending="resets"),
    OddAnswer("length_and_chunks", BARE + b"Content-Length: 9\r\n" + CHUNKED.removeprefix(BARE) + LAST_CHUNKS),
    # Chunks
    OddAnswer("chunks", CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", is_reused=True),
    OddAnswer("chunks_with_extensions", CHUNKED + b"2;a=b\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", is_reused=True),
    OddAnswer("chunk_sizes_padded", CHUNKED + b"0002  \r\nok\r\n000\r\n\r\n", is_reused=True),
    OddAnswer("chunks_with_line_feeds", CHUNKED + b"2\nok\n0\n\n", is_reused=True),
    OddAnswer("chunk_size_no_number", CHUNKED + b"zz\r\nok", 200, "protocol", body=""),
    OddAnswer("chunk_size_negative", CHUNKED + b"-2\r\nok", 200, "protocol", body=""),
    OddAnswer("chunk_longer_than_its_size", CHUNKED + b"1\r\nokay\r\n0\r\n\r\n", 200, "protocol", body="o"),
    OddAnswer("chunks_cut", CHUNKED + b"5\r\nok", 200, "closed", "closes"),
    OddAnswer("last_chunk_missing", CHUNKED + b"2\r\nok\r\n", 200, "closed", "closes"),
    OddAnswer("end_of_trailer_missing", CHUNKED + b"2\r\nok\r\n0\r\n", ending="closes"),
    OddAnswer("chunked_but_plain", CHUNKED + b'{"status":"ok"}', 200, "closed", "closes", body=""),
    OddAnswer("gzip_then_chunked", CHUNKED.replace(b"chunked", b"gzip, chunked") + LAST_CHUNKS, is_reused=True),
    OddAnswer("gzip_until_close", CHUNKED.replace(b"chunked", b"gzip") + b"ok", ending="closes"),
    OddAnswer("chunked_in_http_1_0", CHUNKED.replace(b"1.1", b"1.0") + LAST_CHUNKS),
    # Other statuses count as well
    OddAnswer("500_malformed", b"HTTP/1.1 500 Oops\r\nno colon\r\n\r\nok", 500, "protocol", "closes"),
    OddAnswer("410_of_two_lengths", b"HTTP/1.1 410 G\r\nContent-Length: 1\r\n" + HEADERS, 410, "protocol"),
)  # fmt: skip
