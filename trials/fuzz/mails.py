"""Fuzzing of the mail parser: mutate a corpus of mails, and fail if parsing one raises (`make fuzz`)."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from superimap.domain.envelope import Envelope
from superimap.domain.mail_stages import MailOrigin
from superimap.mail.envelope import as_json
from superimap.mail.message import decode_text, is_cheap, parse
from superimap.webhooks import payload
from tests.support.malformed import MALFORMED

_TOKENS = (
    b"\r\n", b"\n", b"\r",
    b"\r\n\r\n", b"\r\n ", b"\0", b'"', b"\\", b"<", b">", b"(", b")", b",", b";", b":", b"@",
    b"=?utf-8?q?", b"=?utf-8?b?", b"?=", b"\xff", b"\xc3", b"\xf0\x9f", b"\xed\xa0\x80", b"\xef\xbf\xbd",
    b"--b\r\n",
    b"From: ", b"Message-ID: ", b"Subject: ", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
)  # fmt: skip
_MAX_MAIL_BYTES = 300_000


def check(raw: bytes) -> None:
    """Parse the mail in every way that the idler does. AssertionError if a result does not fit the bytes."""
    mail = parse(raw)
    text, was_scrubbed = decode_text(raw)
    envelope = mail.envelope
    content = payload.new_mail(
        raw,
        mail,
        text=text,
        is_exact=not was_scrubbed,
        envelope=as_json(envelope),
        user_tag="joe",
        imap_provider_code="TEST",
        received_at=None,
        origin=MailOrigin.LIVE,
    )
    found = json.loads(content)
    assert found["rfc822"] == raw.decode("utf-8", "replace")
    assert ("rfc822_base64" in found) == was_scrubbed == (found["rfc822"].encode() != raw)
    assert base64.b64decode(found.get("rfc822_base64", "")) == (raw if was_scrubbed else b"")
    assert (mail.sha1, mail.size) == (hashlib.sha1(raw).hexdigest(), len(raw))
    assert mail.message_id is None or (0 < len(mail.message_id) <= 255 and "\0" not in mail.message_id)
    assert (mail.fingerprint is None) == (mail.message_id is None)
    _storable(envelope)


def _storable(envelope: Envelope) -> None:
    """Check that the envelope can be stored: PostgreSQL accepts no NUL, and UTF-8 no surrogates."""
    assert "\\u0000" not in json.dumps(as_json(envelope))
    repr(envelope).encode("utf-8", "strict")


def mutants(corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield mails of the corpus with one to eight mutations, without end; the same ones for the same seed."""
    chance = random.Random(seed)
    while True:
        raw = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 8)):
            _mutate(raw, corpus, chance)
        yield bytes(raw[:_MAX_MAIL_BYTES])


def _mutate(raw: bytearray, corpus: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, min(len(raw), 2000) if chance.random() < 0.7 else len(raw))  # headers come first
    piece = bytes(raw[at : at + chance.choice((1, 10, 100, 1000))])
    match chance.randrange(7):
        case 0:
            del raw[at : at + len(piece)]
        case 1:
            raw[at:at] = piece * chance.choice((1, 10, 1000))
        case 2:
            raw[at:at] = chance.choice(_TOKENS) * chance.choice((1, 1, 1, 3, 5000))
        case 3:
            raw[at : at + 1] = bytes((chance.randrange(256),))
        case 4:
            raw[at : at + len(piece)] = chance.randbytes(len(piece))
        case 5:
            other = chance.choice(corpus)
            raw[at:] = other[chance.randint(0, len(other)) :]
        case _:
            raw[:] = raw.replace(
                *chance.choice(((b"\r\n", b"\n"), (b"\r\n", b"\r"), (b"\n", b"\r\n"), (b" ", b"\t")))
            )


def pythons_own() -> list[bytes]:
    """The mails in the tests of Python's email package; empty if they are not installed."""
    try:
        spec = importlib.util.find_spec("test.test_email")
    except ModuleNotFoundError:
        return []
    if spec is None or spec.origin is None:
        return []
    return [path.read_bytes() for path in sorted((Path(spec.origin).parent / "data").glob("*.txt"))]


def fuzz_parser(seconds: float, seed: int) -> int:
    """Parse mutants for some seconds and print figures; returns the number of mails that raised."""
    own, python = list(MALFORMED.values()), pythons_own()
    print(f"corpus: {len(own)} mails of this project, {len(python)} of Python; seed {seed}")
    read, failed = 0, 0
    slowest = {True: (0.0, 0), False: (0.0, 0)}
    until = time.monotonic() + seconds
    for raw in _all(own + python, seed):
        began = time.thread_time()
        try:
            check(raw)
        except Exception as error:
            failed += 1
            print(f"FAILED on mail {read}: {error!r}\n{raw[:500]!r}")
        quick = is_cheap(raw)
        slowest[quick] = max(slowest[quick], (time.thread_time() - began, len(raw)))
        read += 1
        if time.monotonic() > until:
            break
    print(f"{read} mails parsed, {failed} failed; the slowest, in CPU time including the checks:")
    for quick, (took, size) in slowest.items():
        where = "on the event loop" if quick else "in a thread"
        print(f"  {took * 1000:.1f} ms for {size} bytes, which the idler parses {where}")
    return failed


def _all(corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    yield from corpus
    yield from mutants(corpus, seed)
