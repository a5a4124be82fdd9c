"""The body of a webhook, on the first attempt and on later ones."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from superimap.domain.events import EventName
from superimap.domain.mail_stages import MailOrigin
from superimap.webhooks import payload
from superimap.webhooks.signing import body_signature

RAW = b"Subject: h\xe9\r\n\r\nbye\xff\r\n"
TEXT = RAW.decode("utf-8", "replace")
SHA1 = hashlib.sha1(RAW).hexdigest()


def new_mail(*, raw: bytes = RAW, text: str = TEXT, is_exact: bool = False) -> bytes:
    return payload.new_mail(
        raw,
        SimpleNamespace(sha1=hashlib.sha1(raw).hexdigest()),
        text=text,
        is_exact=is_exact,
        envelope={"subject": "hé"},
        user_tag='a"n\\n',
        imap_provider_code="GMAIL_OAUTH2",
        received_at=datetime(2026, 9, 21, 16, 0, 0, tzinfo=timezone(timedelta(hours=2))),
        origin=MailOrigin.LIVE,
    )


def test_a_body_has_every_documented_field():
    recorded_at = datetime(2026, 9, 21, 14, 0, 1, 50, tzinfo=UTC)
    body = json.loads(payload.body(new_mail(), timestamp=17, api_keys=["key"], recorded_at=recorded_at))

    assert body == {
        "timestamp": 17,
        "signature": body_signature("key", timestamp=17, sha1=SHA1),
        "recorded_at": "2026-09-21T14:00:01.000050Z",
        "sha1": SHA1,
        "user_tag": 'a"n\\n',
        "imap_provider_code": "GMAIL_OAUTH2",
        "received_at": "2026-09-21T14:00:00Z",
        "origin": "live",
        "envelope": {"subject": "hé"},
        "rfc822": TEXT,
        "rfc822_base64": base64.b64encode(RAW).decode(),
    }


def test_exact_text_has_no_base64_beside_it():
    body = json.loads(
        payload.body(new_mail(raw=b"hi", text="hi", is_exact=True), timestamp=1, api_keys=["k"])
    )

    assert "rfc822_base64" not in body


def test_a_later_attempt_differs_by_timestamp_and_signature_alone():
    content = new_mail()
    first, later = (json.loads(payload.body(content, timestamp=at, api_keys=["k"])) for at in (1, 2))

    assert {name for name in first if first[name] != later[name]} == {"timestamp", "signature"}


def test_during_a_rotation_each_key_signs_and_signature_stays_with_the_first():
    body = json.loads(payload.body(new_mail(), timestamp=5, api_keys=["old", "new"]))

    made = [body_signature(key, timestamp=5, sha1=SHA1) for key in ("old", "new")]
    assert (body["signature"], body["signatures"]) == (made[0], made)


@pytest.mark.parametrize("tag", ["ann", "änn", "", 'x"}'])
def test_connected_and_disconnected_carry_the_tags_sha1(tag: str):
    sha1 = hashlib.sha1(tag.encode()).hexdigest()
    connected = payload.user_connected(user_tag=tag, imap_provider_code="P", email="a@b")
    disconnected = payload.user_disconnected(user_tag=tag, imap_provider_code="P")

    for content, more in ((connected, {"email": "a@b"}), (disconnected, {})):
        body = json.loads(payload.body(content, timestamp=9, api_keys=["k"]))
        assert body == {
            "timestamp": 9,
            "signature": body_signature("k", timestamp=9, sha1=sha1),
            "sha1": sha1,
            "user_tag": tag,
            "imap_provider_code": "P",
            **more,
        }


WHEN = datetime(2026, 9, 21, 16, 46, 21, 402517, timezone(timedelta(hours=2)))
OF_EVENTS = {
    EventName.USER_REAUTH_REQUIRED: {"reason_code": "c", "reason": "r", "connect_url": "https://x"},
    EventName.USER_RESTORED: {},
    EventName.USER_STALLED: {"reason": "r"},
    EventName.USER_RECOVERED: {},
    EventName.USER_ARCHIVED: {"reason_code": "c", "reason": "r"},
}


@pytest.mark.parametrize("name", OF_EVENTS)
def test_an_event_has_its_name_its_time_in_utc_and_its_own_fields_only(name: EventName):
    content = payload.user_event(
        name,
        user_tag="ann",
        imap_provider_code="P",
        happened_at=WHEN,
        code="c",
        reason="r",
        connect_url="https://x",
    )

    assert json.loads(content) == {
        "sha1": hashlib.sha1(b"ann").hexdigest(),
        "event": name.value,
        "user_tag": "ann",
        "imap_provider_code": "P",
        "happened_at": "2026-09-21T14:46:21.402517Z",
        **OF_EVENTS[name],
    }


def test_a_lone_surrogate_does_not_stop_a_webhook():
    content = payload.user_disconnected(user_tag="a", imap_provider_code="\ud800")

    assert json.loads(content)["imap_provider_code"] == "?"


def test_content_that_does_not_begin_with_its_sha1_is_refused():
    with pytest.raises(ValueError, match="begins with its sha1"):
        payload.new_mail(
            b"",
            SimpleNamespace(sha1="0" * 39),
            text="",
            is_exact=True,
            envelope=None,
            user_tag="",
            imap_provider_code="",
            received_at=None,
            origin=MailOrigin.LIVE,
        )
