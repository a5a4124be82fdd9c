"""Order of login methods; removal of secrets from the texts of servers."""

from __future__ import annotations

from base64 import b64encode

import pytest

from superimap.imap.errors import AuthenticationFailed, Disconnected, OutOfSync, Refused, TimedOut
from superimap.imap.login_methods import LoginMemory, LoginMethod, login_arguments, login_methods
from superimap.imap.redaction import redacted, without_secrets
from superimap.imap.types import Login, OAuth

ANN, ZOE = Login("ann", "s3cret"), Login("zoë", "pässwö rd")
TOKEN = OAuth("ann", "t0ken-" + "x1Y2" * 200)


def named(methods: list[LoginMethod]) -> str:
    return ", ".join(f"{each.form}{'*' if each.has_initial_response else ''}" for each in methods)


@pytest.mark.parametrize(
    ("credentials", "capabilities", "methods"),
    [
        (ANN, "", "quoted, literal, atom"),
        (Login("ann", 'a"b'), "", "quoted, literal"),
        (Login("ann", "two words"), "", "quoted, literal"),
        (ANN, "AUTH=PLAIN", "quoted, PLAIN, literal, atom"),
        (ANN, "AUTH=PLAIN SASL-IR AUTH=LOGIN", "quoted, PLAIN*, PLAIN, LOGIN, literal, atom"),
        (ANN, "LOGINDISABLED AUTH=PLAIN SASL-IR", "PLAIN*, PLAIN"),
        (ANN, "LOGINDISABLED AUTH=LOGIN SASL-IR", "LOGIN"),
        (ANN, "LOGINDISABLED AUTH=CRAM-MD5 AUTH=DIGEST-MD5", ""),
        (ANN, "AUTH=CRAM-MD5", "quoted, literal, atom"),
        (ZOE, "", "literal"),
        (ZOE, "AUTH=PLAIN", "PLAIN, literal"),
        (ZOE, "AUTH=LOGIN LITERAL+", "LOGIN, literal"),
        (TOKEN, "AUTH=PLAIN", ""),
        (TOKEN, "AUTH=XOAUTH2 AUTH=OAUTHBEARER", "XOAUTH2, OAUTHBEARER"),
        (TOKEN, "AUTH=OAUTHBEARER SASL-IR", "OAUTHBEARER*, OAUTHBEARER"),
        (OAuth("a", "t", "OAUTHBEARER"), "AUTH=XOAUTH2 AUTH=OAUTHBEARER", "OAUTHBEARER"),
    ],
)
def test_the_order_of_methods_follows_what_the_server_offers(credentials, capabilities, methods):
    assert named(login_methods(credentials, frozenset(capabilities.split()))) == methods


@pytest.mark.parametrize("form", ["quoted", "literal", "atom"])
def test_the_arguments_of_login_show_no_password_where_they_are_literals(form):
    arguments = login_arguments(ANN, form)

    assert ("s3cret" in repr(arguments)) == (form != "literal")


def test_h22_credentials_do_not_show_their_secret():
    assert "s3cret" not in repr(Login("ann", "s3cret")) + repr(OAuth("ann", "s3cret"))


def test_error_texts_state_what_happened():
    assert str(Refused("EXAMINE", "NO", "gone", "NONEXISTENT")) == "EXAMINE: NO [NONEXISTENT] gone"
    assert str(Disconnected("closed", bye="Autologout")) == "closed: BYE Autologout"
    assert str(AuthenticationFailed("no", "X", advice="Do this.")) == "Do this. [X] no"


def b64(text: bytes) -> str:
    return b64encode(text).decode()


HORSE = Login("ann", "correct-horse-battery")
QUOTES = Login("ann", "it's\"a-secret\\x")

ECHOES = [
    (ANN, "BAD LOGIN ann s3cret"),
    (ANN, 'BAD LOGIN "ann" "S3CRET"'),
    (Login("ann", 'a"b\\c'), 'BAD LOGIN "ann" "a\\"b\\\\c" no'),
    (ANN, f"NO {b64(b's3cret')} unknown"),
    (ANN, f"NO AUTHENTICATE PLAIN {b64(b'%bann%bs3cret' % (bytes(1), bytes(1)))} refused"),
    (ANN, f"NO {b64(b'A1 LOGIN ann s3cret')}"),
    (ANN, f"NO {b64(b'xA1 LOGIN ann s3cret')[2:]}"),
    (ANN, "BAD LOGIN ann s3cr"),
    (ZOE, "BAD pässwö rd"),
    (HORSE, 'not an answer to LOGIN: \'A1 LOGIN "ann" "correct-h\''),
    (HORSE, "NO correct-horse-batt... rejected"),
    (HORSE, f"not an answer to AUTHENTICATE: {b64(b'%bann%bcorrect-horse' % (bytes(1), bytes(1)))!r}"),
    (Login("ann", "p@ss w0rd&co"), "NO user=ann&pass=p%40ss%20w0rd%26co"),
    (Login("ann", "p@ss w0rd&co"), "NO p%40ss+w0rd%26co"),
    (Login("ann", "p@ss w0rd&co"), "NO p@ss w0rd&amp;co"),
    (QUOTES, f"not an answer to LOGIN: {QUOTES.password + ' no'!r}"),
    (QUOTES, f"not an answer to LOGIN: {QUOTES.password[:12]!r}"),
    (HORSE, f"NO {HORSE.password.encode().hex()}"),
    (HORSE, f"NO {HORSE.password.encode().hex().upper()}"),
    (HORSE, f"NO {HORSE.password.encode().hex(' ')}"),
    (HORSE, f"NO {HORSE.password[::-1]}"),
    (HORSE, f"NO {' '.join(HORSE.password)}"),
    (ZOE, "NO p\\u00e4ssw\\u00f6rd"),
    (ZOE, "NO p=C3=A4ssw=C3=B6rd"),
    (ZOE, f"NO {''.join(f'&#{ord(each)};' for each in ZOE.password)}"),
    (Login("ann", "correct%=horse-battery"), "NO correct%=horse-batt... rejected"),
    (TOKEN, f"BAD {TOKEN.access_token}"),
    (TOKEN, f"BAD {TOKEN.access_token[:200]}"),
    (
        TOKEN,
        f"BAD AUTHENTICATE {b64(f'user=ann{chr(1)}auth=Bearer {TOKEN.access_token}{chr(1)}{chr(1)}'.encode())}",
    ),
    (TOKEN, f"BAD {b64(f'user=ann{chr(1)}auth=Bearer {TOKEN.access_token}'.encode())[:240]}"),
    (TOKEN, f"BAD {b64(f'n,a=ann,{chr(1)}auth=Bearer {TOKEN.access_token}'.encode())[:240]}"),
]


@pytest.mark.parametrize(("credentials", "text"), ECHOES)
def test_no_form_of_the_secret_is_left_of_an_echoed_login(credentials, text):
    secret = credentials.password if isinstance(credentials, Login) else credentials.access_token
    shown = without_secrets(text, credentials)

    assert secret[:4].lower() not in shown.lower()
    assert b64(secret.encode())[:6] not in shown
    assert secret[-4:].lower() not in shown.lower()
    assert secret[8:13].lower() not in shown.lower() or len(secret) < 13
    assert secret.encode().hex()[:8] not in shown.lower()
    assert secret[::-1][:4] not in shown
    assert "…" in shown


def test_a_text_without_the_secret_stays_as_it_is():
    text = "NO [AUTHENTICATIONFAILED] Invalid credentials for ann; see https://example.com/aGVsbG8gd29ybGQ="

    assert without_secrets(text, ANN) == text


def test_all_texts_of_an_error_are_redacted_and_its_other_values_kept():
    error = redacted(AuthenticationFailed("s3cret", "X", "s3cret", "advice", is_certain=False), ANN)

    assert isinstance(error, AuthenticationFailed)
    assert (error.text, error.code, error.detail, error.is_certain) == ("…", "X", "…", False)
    assert str(redacted(OutOfSync("not an answer to LOGIN: 's3cret BAD'"), ANN)).endswith("'… BAD'")
    assert redacted(same := TimedOut("LOGIN", 9), ANN) is same


def test_methods_without_an_answer_move_behind_the_others_and_none_is_given_up():
    memory = LoginMemory()
    a, b, c = (LoginMethod("LOGIN", form) for form in ("quoted", "literal", "atom"))

    def order() -> list[LoginMethod]:
        return memory.order([a, b, c])

    assert order() == [a, b, c]
    memory.miss_answer(a)
    assert order() == [a, b, c]
    memory.miss_answer(a)
    assert order() == [b, c, a]
    memory.refuse(b)
    assert order() == [c, a]
    memory.miss_answer(c)
    memory.miss_answer(c)
    assert order() == [a, c]  # a server that was down
    memory.accept(a)
    assert order() == [a, c]
    memory.forget()
    assert order() == [a, b, c]
