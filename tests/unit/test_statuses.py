"""Status transitions of a user, and the limits of the liveness intervals."""

from __future__ import annotations

import pytest

from superimap.core.config import Settings
from superimap.dispatcher.timings import DispatcherTimings
from superimap.domain.presets import presets
from superimap.domain.users import StatusChange, UserStatus, status_after
from superimap.idler.timing import SessionTiming
from superimap.imap import transport

H, S = StatusChange, UserStatus
USUAL = {
    H.CAUGHT_UP: S.WATCHING,
    H.CATCHING_UP: S.CATCHING_UP,
    H.CONNECTION_LOST: S.BACKING_OFF,
    H.THROTTLED: S.THROTTLED,
    H.SUSPENDED: S.SUSPENDED,
    H.LOGIN_REFUSED: S.AUTHENTICATION_FAILED,
    H.UNRESPONSIVE: S.STALLED,
}
# Status and change, and the status that follows if it is not the usual one.
UNUSUAL = {
    (S.STALLED, H.CONNECTION_LOST): S.STALLED,
    (S.AUTHENTICATION_FAILED, H.UNRESPONSIVE): S.AUTHENTICATION_FAILED,
    **{(kept, change): kept for kept in (S.NOT_CONNECTED, S.ARCHIVED) for change in H},
}


@pytest.mark.parametrize("change", StatusChange)
@pytest.mark.parametrize("status", UserStatus)
def test_status_after_each_change(status, change):
    assert status_after(status, change) == UNUSUAL.get((status, change), USUAL[change])


def test_a_dead_peer_is_detected_within_90_s_of_its_probe():
    timing = SessionTiming()
    (tcp_user_timeout,) = [value for _, name, value in transport._OPTIONS if name == "TCP_USER_TIMEOUT"]

    assert timing.timeouts.done <= 15
    assert timing.timeouts.command <= 90
    assert tcp_user_timeout <= 90_000


def test_every_mailbox_is_checked_within_5_minutes_by_default_and_9_at_most():
    field = Settings.model_fields["idle_renew"]
    (most,) = [limit.le for limit in field.metadata if hasattr(limit, "le")]
    timing = SessionTiming()

    assert field.default <= 300
    assert most <= 540
    assert timing.poll <= 300
    assert all((preset.idle_renew or 5) <= 300 for preset in presets())
    assert all((preset.poll_seconds or 5) <= 300 for preset in presets())


def test_an_established_session_cannot_be_reported_as_stalled():
    """For all values of STALLED_AFTER and IDLE_RENEW, a proof of life is reported before the sweeper needs it.

    It may count as an interval earlier than it was, and is reported an interval later.
    """
    stalled, renew = Settings.model_fields["stalled_after"], Settings.model_fields["idle_renew"]
    (least,) = [limit.ge for limit in stalled.metadata if hasattr(limit, "ge")]
    (longest,) = [limit.le for limit in renew.metadata if hasattr(limit, "le")]
    timing = SessionTiming()

    assert longest + timing.timeouts.done + 2 * timing.proof_interval < least <= stalled.default
    assert timing.proof_interval * 2 < DispatcherTimings().stall_check_delay
