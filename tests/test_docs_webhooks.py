"""docs/webhooks.md lists every field, header and event, and its Python recipes verify webhooks."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from superimap.dispatcher import webhook_client
from superimap.domain.events import EventKind, EventName, ReasonCode
from superimap.webhooks import payload
from tests.support.pages import QUICKSTART, WEBHOOKS, blocks, first_cells, rows, section
from tests.support.webhook_examples import API_KEY, OTHER_KEY, OTHER_SECRET, RAW, SECRET, event, webhook


@pytest.mark.parametrize("kind", EventKind)
def test_webhooks_lists_the_fields_of(kind):
    table = rows(section(WEBHOOKS, "Body fields"))[1:]
    listed = {row[0].strip("`") for row in table if row[1] == "all" or f"`{kind}`" in row[1]}
    body = json.loads(webhook(kind, keys=2)[1])

    assert listed == body.keys()


@pytest.mark.parametrize("name", EventName)
def test_webhooks_lists_the_fields_of_the_event(name):
    common = rows(section(WEBHOOKS, "Body fields"))[1:]
    text = section(WEBHOOKS, "Events")
    own = {row[0].strip("`") for row in rows(text)[1:] if f"`{name}`" in row[1]}
    (summary,) = [row[2] for row in rows(text) if row[0] == f"`{name}`"]

    body = json.loads(payload.body(event(name), timestamp=1, api_keys=[API_KEY, OTHER_KEY]))

    assert own == set(re.findall(r"`(\w+)`", summary))
    assert {row[0].strip("`") for row in common if row[1] in ("all", "`events`")} | own == body.keys()


def test_the_samples_of_events_equal_the_events_sent():
    samples = [json.loads(block) for block in blocks(WEBHOOKS, "json")]

    assert {sample["event"] for sample in samples} == {
        "user_reauth_required",
        "mail_oversized",
        "mail_flags_changed",
    }
    for sample in samples:
        sent = json.loads(payload.body(event(EventName(sample["event"])), timestamp=1, api_keys=[API_KEY]))
        assert list(sample) == list(sent)
        assert {name: type(value) for name, value in sample.items()} == {
            name: type(value) for name, value in sent.items()
        }
        assert sample["sha1"] == sent["sha1"]
        assert (sample.get("envelope") or {}).keys() == (sent.get("envelope") or {}).keys()


@pytest.mark.parametrize("words", [EventName, ReasonCode])
def test_webhooks_lists_every_value_of(words):
    assert {str(word) for word in words} <= first_cells(section(WEBHOOKS, "Events"))


def test_webhooks_describes_the_envelope():
    text = section(WEBHOOKS, "Body fields")
    envelope = json.loads(webhook()[1])["envelope"]

    for name in (*envelope, *envelope["from"][0]):
        assert f"`{name}`" in text


def test_webhooks_lists_every_header():
    listed = first_cells(section(WEBHOOKS, "Headers"))

    assert listed - {"msg_", "v1,", "traceparent"} == {*webhook()[0], *webhook_client._HEADERS}


def names_of(source: str) -> dict[str, Any]:
    """The names that a Python block of a page defines."""
    defined: dict[str, Any] = {}
    exec(compile(source, "page", "exec"), defined)
    return defined


def python_recipes() -> list[tuple[str, Any, Any]]:
    """Page, function that verifies the header, function that verifies the body, for both pages."""
    page = names_of(next(block for block in blocks(WEBHOOKS, "python") if "def is_genuine" in block))
    quickstart = names_of(next(block for block in blocks(QUICKSTART, "python") if "def by_header" in block))
    return [
        ("webhooks.md", page["is_genuine"], page["is_genuine_by_api_key"]),
        ("quickstart.md", quickstart["by_header"], quickstart["by_api_key"]),
    ]


@pytest.mark.parametrize(("page", "by_header", "by_api_key"), python_recipes())
@pytest.mark.parametrize("keys", [1, 2])
@pytest.mark.parametrize("kind", EventKind)
def test_python_recipes_accept_a_true_webhook(page, by_header, by_api_key, keys, kind):
    headers, raw = webhook(kind, keys=keys)

    assert by_header(headers, raw, SECRET)
    assert by_api_key(json.loads(raw), API_KEY)
    if keys == 2:
        assert by_header(headers, raw, OTHER_SECRET)


@pytest.mark.parametrize(("page", "by_header", "by_api_key"), python_recipes())
def test_python_recipes_refuse_a_forged_webhook(page, by_header, by_api_key):
    headers, raw = webhook()
    body = json.loads(raw)

    assert not by_header(headers, raw.replace(b"MY_USER", b"NO_USER"), SECRET)
    assert not by_header(headers, raw, OTHER_SECRET)
    assert not by_header(headers | {"webhook-id": "msg_" + "0" * 32}, raw, SECRET)
    assert not by_api_key(body | {"sha1": "0" * 40}, API_KEY)
    assert not by_api_key(body, OTHER_KEY)


def test_the_recipe_in_webhooks_accepts_either_key_and_rejects_old_webhooks():
    _, by_header, by_api_key = python_recipes()[0]
    _, raw = webhook(keys=2)
    old_headers, old_raw = webhook(age=400)

    assert by_api_key(json.loads(raw), OTHER_KEY)
    assert not by_header(old_headers, old_raw, SECRET)
    assert not by_api_key(json.loads(old_raw), API_KEY)
    assert not by_header({}, raw, SECRET)


def test_the_recipe_for_exact_bytes_returns_the_exact_bytes():
    mail_bytes = names_of(blocks(WEBHOOKS, "python")[0])["mail_bytes"]
    body = json.loads(webhook()[1])

    assert mail_bytes(body) == RAW
    assert hashlib.sha1(mail_bytes(body)).hexdigest() == body["sha1"]
    assert mail_bytes({"rfc822": "a\r\n"}) == b"a\r\n"
