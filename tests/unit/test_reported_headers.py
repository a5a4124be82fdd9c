"""Envelopes of mails with headers that other projects reported as trouble (docs/catalogues/servers.md)."""

from __future__ import annotations

import pytest

from superimap.mail.envelope import as_json
from superimap.mail.message import parse
from tests.support.dialogues.content import MAILS


@pytest.mark.parametrize(
    ("number", "field", "value"),
    [
        ("S109", "message_id", "<some@example.com>"),
        ("S110", "message_id", "faff5b13@example.com"),
        ("S111", "message_id", "<00E19E93@@example.com>"),
        ("S112", "message_id", "<[ABCDEF====@example.com]>"),
        ("S113", "message_id", "ACME1226@423549219_ACME1226@"),
        ("S114", "message_id", "<NMID-105-AA==@communication.example.com>"),
        ("S115", "subject", None),
        ("S115", "message_id", None),
        ("S116", "message_id", "<s116@example.com>"),
        ("S117", "message_id", "<s117@example.com>"),
        ("S118", "message_id", "<s118@example.com>"),
        ("S119", "subject", "second"),
        ("S120", "date", "6/31/2005"),
    ],
)
def test_a_reported_header_has_its_value(number, field, value):
    assert as_json(parse(MAILS[number]).envelope)[field] == value


def test_a_header_within_from_leaves_the_first_address():
    assert as_json(parse(MAILS["S118"]).envelope)["from"][0]["mailbox"] == "a"
