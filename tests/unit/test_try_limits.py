"""What is counted of a password submission, and the slots of logins."""

import pytest

from superimap.api import login_check
from superimap.api.login_check import LoginsBusy, LoginSlots
from superimap.api.pages.try_limits import counted_address, counted_mailbox, mailbox_limits, server_limits

ANN = "ann@example.com"
SERVERS = ["imap.example.com"]


@pytest.mark.parametrize(
    "spelling", [ANN, "Ann@Example.COM", " ann@example.com ", "a.n.n@example.com", "ann+x@example.com"]
)
def test_all_spellings_of_a_mailbox_are_counted_as_one(spelling):
    assert counted_mailbox(spelling) == ANN


@pytest.mark.parametrize("other", ["anne@example.com", "ann@example.org", "ann", "", "@example.com"])
def test_other_mailboxes_are_counted_apart(other):
    assert counted_mailbox(other) != ANN


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("imap.example.com", None),
        ("", None),
    ],
)
def test_an_address_is_counted_in_one_spelling_and_ipv6_by_64(address, counted):
    assert counted_address(address) == counted


def keys(limits):
    return [limit.key for limit in limits]


def test_a_partner_has_a_part_of_each_limit_and_shares_the_rest():
    for acme, globex in (
        [mailbox_limits(SERVERS, ANN, partner_id=each, known=()) for each in (1, 2)],
        [server_limits(SERVERS, partner_id=each, is_named=True) for each in (1, 2)],
        [server_limits(SERVERS, partner_id=each, is_named=False) for each in (1, 2)],
    ):
        in_all, by_partner = acme
        assert in_all.key == globex[0].key
        assert by_partner.key != globex[1].key
        assert 3 * by_partner.at_most <= in_all.at_most, "it takes several partners to lock out the others"


def test_links_that_name_the_mailbox_are_counted_apart_from_those_of_strangers():
    stranger = mailbox_limits(SERVERS, ANN, partner_id=1, known=(None, "bob@example.com"))
    owner = mailbox_limits(SERVERS, ANN, partner_id=1, known=("Ann@example.com", None))

    assert (keys(stranger)[0], keys(stranger)[1]) == (keys(owner)[0], keys(stranger)[1])
    assert keys(stranger)[1] != keys(owner)[1]


def test_slots_are_limited_in_all_and_per_group_and_are_given_back(monkeypatch):
    monkeypatch.setattr(login_check, "MAX_LOGINS", 3)
    monkeypatch.setattr(login_check, "MAX_LOGINS_PER_GROUP", 2)
    slots = LoginSlots()

    with slots.take("acme", "here"), slots.take("acme", "there"):
        with pytest.raises(LoginsBusy), slots.take("acme", "elsewhere"):
            pytest.fail("a third login of a partner that may have two")
        with slots.take("globex", "here"):
            with pytest.raises(LoginsBusy), slots.take("initech", "elsewhere"):
                pytest.fail("a fourth login")
            with pytest.raises(LoginsBusy), slots.take("initech", "here"):
                pytest.fail("a third login at one server")
    for _ in range(3):
        with slots.take("acme", "here"), slots.take("acme", "there"), slots.take("globex", "here"):
            pass
    assert not slots._taken
