"""The sink of long tracers: it acknowledges what is signed by the partner's secrets, and nothing else."""

from __future__ import annotations

import time
import uuid
from functools import partial

import pytest

from superimap.dispatcher.tracer_sink import TracerSink
from superimap.webhooks import signing
from superimap.webhooks.signing import SigningKeys

SECRET, OTHER = "whsec_" + "A" * 32, "whsec_" + "B" * 32
BODY = b"x" * 300_000


class Keys:
    async def get_keys(self, partner_id: int) -> SigningKeys:
        return SigningKeys((), (SECRET,) if partner_id == 7 else (OTHER,))


def signed(*, secret: str = SECRET, body: bytes = BODY, age: float = 0.0) -> dict[str, str]:
    now = int(time.time() - age)
    return signing.standard_headers(uuid.uuid4(), timestamp=now, body=body, secrets=[secret])


@pytest.mark.parametrize(
    ("partner", "headers", "status"),
    [
        pytest.param(7, signed, 204, id="signed"),
        pytest.param(8, signed, 401, id="of another partner"),
        pytest.param(7, partial(signed, secret=OTHER), 401, id="signed by another secret"),
        pytest.param(7, partial(signed, body=b"another"), 401, id="another body"),
        pytest.param(7, partial(signed, age=600), 401, id="old"),
        pytest.param(7, dict, 401, id="not signed"),
        pytest.param(-1, signed, 400, id="no partner"),
    ],
)
async def test_a_webhook_is_acknowledged_if_its_partner_has_signed_it_just_now(partner, headers, status):
    async with TracerSink(Keys(), deadline=5.0) as sink:
        results = [await sink.post(partner, BODY, headers()) for _ in range(3)]

    assert [result.status for result in results] == [status] * 3
