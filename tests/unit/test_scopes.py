"""Does what a provider granted open mail?"""

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
        ("openid email", "openid"),  # whoever asks for nothing is denied nothing
    ],
)
def test_it_does_where_mail_is_among_it_or_nothing_is_said(asked, granted):
    assert not lacks_mail_scope(asked, granted)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (GMAIL, "openid https://www.googleapis.com/auth/userinfo.email"),
        (OUTLOOK, "openid profile email"),
        ("mail:imap_ro", "login:email"),
    ],
)
def test_it_does_not_where_mail_was_left_out(asked, granted):
    assert lacks_mail_scope(asked, granted)
