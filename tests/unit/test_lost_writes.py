"""Detection of lost writes from heartbeats, and the ids that deliveries keep when mails are read again."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from superimap.core.ids import derived_uuid7, min_uuid7
from superimap.domain.lost_writes import Heartbeat, lost_writes_since

ONE, OTHER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
CONFIRMED = Heartbeat(number=7, sent_at=100.0, server_started_at=ONE)


@pytest.mark.parametrize(
    ("confirmed", "previous_number", "server", "since"),
    [
        (Heartbeat(), 0, ONE, None),  # the first one
        (CONFIRMED, 7, ONE, None),
        (CONFIRMED, 8, ONE, None),  # the answer to number 8 was lost
        (CONFIRMED, 6, ONE, -math.inf),
        (CONFIRMED, 0, OTHER, -math.inf),  # an old backup
        (CONFIRMED, 6, OTHER, -math.inf),  # a replica that lagged by more than a heartbeat
        (CONFIRMED, 7, OTHER, 100.0),  # a restart, or a replica that lagged by less
        (CONFIRMED, 8, OTHER, 100.0),
    ],
)
def test_a_heartbeat_shows_since_when_writes_may_be_lost(confirmed, previous_number, server, since):
    found = lost_writes_since(confirmed, previous_number=previous_number, server_started_at=server)

    assert found == since


def test_the_id_of_a_mail_is_the_same_each_time_and_lies_in_its_second():
    digest = bytes(range(32))
    made = derived_uuid7(ONE, 41, digest)

    assert made == derived_uuid7(ONE + timedelta(milliseconds=999), 41, digest)
    assert made != derived_uuid7(ONE, 41, bytes(32))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert min_uuid7(ONE) <= made < min_uuid7(ONE + timedelta(seconds=1))
    assert made < derived_uuid7(ONE, 42, digest)
