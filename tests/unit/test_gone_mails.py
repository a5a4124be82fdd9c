"""UIDs that a server claims and that hold no mail: the server pays for the work."""

import pytest

from superimap.idler import mailbox_queries


class Client:
    """A server that claims all UIDs, holds `held`, and hands none over."""

    def __init__(self, held: set[int]) -> None:
        self.held = held
        self.paid = 0.0

    async def fetch_meta(self, _uids):
        return []

    async def denied(self, uids):
        return [uid for uid in uids if uid not in self.held], True

    async def pay_for(self, seconds):
        self.paid += seconds


@pytest.mark.parametrize(("held", "gone"), [(set(), 100), ({7}, 99), (set(range(1, 101)), 0)])
async def test_a_server_pays_for_each_uid_without_a_mail(held, gone):
    client = Client(held)

    found = await mailbox_queries.fetch_metas(client, list(range(1, 101)))

    assert len(found) == gone
    assert client.paid == pytest.approx(gone * 0.00002)
