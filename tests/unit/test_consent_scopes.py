"""Scopes that a provider granted: with or without access to mail."""

import pytest

from superimap.oauth.consent import lacks_mail_scope

GMAIL = "openid email https://mail.google.com/"
OUTLOOK = "openid profile email offline_access https://outlook.office.com/IMAP.AccessAsUser.All"


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (GMAIL, None),
        (GMAIL, "https://mail.google.com/ https://www.googleapis.com/auth/userinfo.email openid"),
        (OUTLOOK, "https://outlook.office365.com/imap.accessasuser.all"),
        ("mail-w", "mail-w,openid"),
        ("openid email", "openid"),  # no scope was requested, so none is missing
    ],
)
def test_a_grant_with_a_mail_scope_or_without_scopes_opens_mail(asked, granted):
    assert not lacks_mail_scope(asked, granted)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (GMAIL, "openid https://www.googleapis.com/auth/userinfo.email"),
        (OUTLOOK, "openid profile email"),
        ("mail:imap_ro", "login:email"),
    ],
)
def test_a_grant_without_mail_scope_lacks_mail(asked, granted):
    assert lacks_mail_scope(asked, granted)
