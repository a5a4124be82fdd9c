"""Mails for tests, and the ledger of their webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from superimap.testing import Received


def mail(
    number: int | str, *, to: str = "joe@example.com", size: int = 600, body: bytes | None = None
) -> bytes:
    """A unique mail, with CRLF line ends."""
    text = body if body is not None else b"line of text\r\n" * (size // 14)
    head = (
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: Fred Foobar <fred@example.com>\r\nTo: {to}\r\n"
        f"Subject: Mail {number}\r\nMessage-ID: <{number}.{to}>\r\nMIME-Version: 1.0\r\n\r\n"
    )
    return head.encode() + text


def ruby_recipe(api_key: str, body: bytes) -> str:
    """The receiver of the original README, line by line, in Python.

    json_params = JSON.parse(request.raw_post); digest = OpenSSL::Digest.new('sha256');
    OpenSSL::HMAC.hexdigest(digest, api_key, "#{timestamp}#{sha1}")
    """
    json_params = json.loads(body)
    sha1 = json_params["sha1"]
    timestamp = json_params["timestamp"]
    return hmac.new(api_key.encode(), f"{timestamp}{sha1}".encode(), hashlib.sha256).hexdigest()


@dataclass
class Ledger:
    """Compares the mails put into mailboxes with the webhooks that receivers got."""

    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    """SHA-1 of each mail: the path where its webhook belongs, the tag that it should carry."""

    def note(self, raw: bytes, *, path: str, tag: str) -> None:
        self.sent[hashlib.sha1(raw).hexdigest()] = (path, tag)

    def lost(self, received: list[Received]) -> set[str]:
        """Mails without a webhook."""
        return self.sent.keys() - {each.json["sha1"] for each in received}

    def astray(self, received: list[Received]) -> list[Received]:
        """Webhooks for unknown mails, at the wrong partner, or with the wrong tag."""
        return [
            each
            for each in received
            if self.sent.get(each.json["sha1"]) != (each.path, each.json["user_tag"])
        ]

    def duplicates(self, received: list[Received]) -> int:
        """Webhooks beyond the first for each mail."""
        return sum(count - 1 for count in Counter(each.json["sha1"] for each in received).values())

    def ids_per_mail(self, received: list[Received]) -> set[int]:
        """The numbers of different `webhook-id`s per mail: must be {1}."""
        ids: dict[str, set[str]] = defaultdict(set)
        for each in received:
            ids[each.json["sha1"]].add(each.headers["webhook-id"])
        return {len(each) for each in ids.values()}
