"""Addresses of one mail account, in other forms and as a provider vouches for them; never another account."""

from __future__ import annotations

import pytest

from superimap.api.routes.callback import ConnectFailed, connected_account
from superimap.db.accounts.validation.servers import validate_server_field
from superimap.domain.mail_accounts import is_same_account
from superimap.oauth.identity import IdentityError, IdentitySources, MailAccount, account_of, claims_fault

SAME = [
    ("ann@example.com", "Ann@Example.COM"),
    ("ann@example.com", " ann@example.com. "),
    ("ann@gmail.com", "ann@googlemail.com"),
    ("ann.lee@gmail.com", "annlee@gmail.com"),
    ("a.n.n.lee@googlemail.com", "AnnLee@Gmail.com"),
    ("ann+shop@gmail.com", "ann@gmail.com"),
    ("ann@bücher.example", "ann@xn--bcher-kva.example"),
    ("ann@BÜCHER.example", "ann@bücher.example"),
    ("j\u00f6rg@example.com", "jo\u0308rg@example.com"),
    ("ann.lee@yandex.ru", "ann-lee@ya.ru"),
    ("ann@yandex.com", "ann@yandex.ru"),
    ("ANN", "ann"),
]
DIFFERENT = [
    ("ann@example.com", "bob@example.com"),
    ("ann@example.com", "ann@example.org"),
    ("ann.lee@example.com", "annlee@example.com"),  # a Workspace domain: dots count
    ("ann+shop@example.com", "ann@example.com"),  # may be an account of its own
    ("ann@outlook.com", "ann@hotmail.com"),
    ("ann@mail.ru", "ann@list.ru"),
    ("ann@faß.de", "ann@fass.de"),  # two domains of two owners, which IDNA 2003 confuses
    ("ann@gmail.com", "ann@gmail.com.example.com"),
    ("ann@gmail.com", "ann@gmaiI.com"),
    ("ann@gmail.com", "ann"),
    ("\u0430nn@example.com", "ann@example.com"),  # a Cyrillic letter
    ("ann@gmail.com@example.com", "ann@gmail.com"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_addresses_of_one_account_are_the_same(one, other):
    assert is_same_account(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_addresses_of_two_accounts_differ(one, other):
    assert not is_same_account(one, other)


UPN, ADDRESS = "a.lovelace@contoso.onmicrosoft.com", "ada@contoso.com"
MICROSOFT = ("preferred_username", "email")
PERSONAL = "9188040d-6c67-4b5b-b112-36a304b66dad"
CLAIMS = [
    # the claims, and whether they prove that ADDRESS is the account
    ({"preferred_username": ADDRESS}, True),
    ({"preferred_username": UPN, "email": ADDRESS}, False),  # any tenant's administrator can write that
    ({"preferred_username": UPN, "email": ADDRESS, "xms_edov": False}, False),
    ({"preferred_username": UPN, "email": ADDRESS, "xms_edov": True}, True),
    ({"preferred_username": UPN, "email": ADDRESS, "xms_edov": "1"}, True),
    ({"preferred_username": UPN, "email": ADDRESS, "email_verified": True}, True),
    ({"preferred_username": UPN, "email": ADDRESS, "tid": PERSONAL}, True),
    ({"preferred_username": "guest@contoso.com", "email": ADDRESS}, False),  # of a foreign tenant
    ({"preferred_username": UPN, "verified_primary_email": [ADDRESS]}, True),
    ({"preferred_username": UPN, "verified_secondary_email": ["x@contoso.com", ADDRESS]}, True),
    ({"preferred_username": UPN, "verified_secondary_email": ADDRESS}, True),
    ({"preferred_username": UPN, "proxyAddresses": ["SMTP:" + ADDRESS]}, False),
    ({"preferred_username": UPN, "name": ADDRESS, "upn": ADDRESS}, False),
    ({"preferred_username": "not an address", "email": ADDRESS}, True),
    ({"preferred_username": UPN, "verified_primary_email": [7, None, {}]}, False),
]


@pytest.mark.parametrize(("claims", "is_theirs"), CLAIMS)
def test_another_address_of_a_microsoft_account_counts_with_a_proof_only(claims, is_theirs):
    account = account_of(claims, MICROSOFT)

    if not is_theirs:
        with pytest.raises(ConnectFailed, match="wrong_account"):
            connected_account(account, ADDRESS)
    else:
        email, login_name = connected_account(account, ADDRESS)
        assert email == ADDRESS
        assert login_name == (account.name if account.name != ADDRESS else None)


def test_the_partners_spelling_is_kept_and_the_providers_name_signs_in():
    account = MailAccount("ann@gmail.com")

    assert connected_account(account, "Ann@Gmail.com") == ("Ann@Gmail.com", None)
    assert connected_account(account, "a.nn@googlemail.com") == ("a.nn@googlemail.com", "ann@gmail.com")
    assert connected_account(account, None) == ("ann@gmail.com", None)
    assert connected_account(None, "ann@gmail.com") == ("ann@gmail.com", None)
    with pytest.raises(ConnectFailed, match="no_address"):
        connected_account(None, None)


def test_an_address_that_is_not_verified_is_no_account():
    for denied in (False, "false"):
        with pytest.raises(IdentityError):
            account_of({"email": ADDRESS, "email_verified": denied}, ("email",))


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
def test_google_may_leave_out_the_scheme_of_its_issuer(issuer):
    sources = IdentitySources("client", issuer="https://accounts.google.com")
    claims = {"aud": "client", "exp": 100, "nonce": "n"}

    assert claims_fault({**claims, "iss": issuer}, sources, nonce="n", now=0) is None
    assert claims_fault({**claims, "iss": "evil.example.com"}, sources, nonce="n", now=0)


def test_a_mail_server_keeps_its_own_name_in_ascii():
    assert validate_server_field("imap_host", "imap.faß.de") == "imap.xn--fa-hia.de"
    assert validate_server_field("imap_host", "IMAP.Bücher.example.") == "imap.xn--bcher-kva.example"
    assert validate_server_field("imap_host", "a_b.example.com") == "a_b.example.com"
