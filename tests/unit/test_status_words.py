"""What a status means for the mails of a mailbox."""

import pytest

from superimap.api.dashboard.words import status_verdict
from superimap.domain import watch_notes
from superimap.domain.users import UserStatus


@pytest.mark.parametrize(
    ("reason", "text", "tone"),
    [
        (None, "a new mail is seen within a second.", "good"),
        ("INBOX is watched: no folder every 20 s", "a new mail is seen within a second.", "good"),
        (f"IDLE fails; {watch_notes.polled(20)}", "it is seen within 20 s.", "warn"),
        (watch_notes.polled(5), "it is seen within 5 s.", "good"),
        (f"{watch_notes.polled(20)}; {watch_notes.checked(60)}", "it is seen within 60 s.", "warn"),
    ],
)
def test_a_watched_mailbox_promises_no_more_than_its_session_does(reason, text, tone):
    verdict = status_verdict(UserStatus.WATCHING, reason)

    assert verdict.text.endswith(text) and verdict.tone == tone


@pytest.mark.parametrize("status", list(UserStatus))
def test_no_status_is_said_to_be_an_unreachable_server_where_the_sign_in_worked(status):
    verdict = status_verdict(status, "NO FETCH refused", has_signed_in=True)

    assert "reached" not in verdict.text
    assert ("cannot be read" in verdict.text) == (status is UserStatus.BACKING_OFF)
