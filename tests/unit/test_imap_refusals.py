"""Judgement of refused logins, by the texts of servers and providers; each row names its source."""

from __future__ import annotations

import pytest

from superimap.imap.refusals import Answer, Verdict, advice, judge_refusal, names_credentials

C, U, T, M = Verdict.CREDENTIALS, Verdict.UNCLEAR, Verdict.TEMPORARY, Verdict.METHOD

QQ = (
    "Login fail. Account is abnormal, service is not open, password is incorrect, login frequency limited, "
    "or system is busy."
)
WEB = "Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)"
APP = "Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)"
TLS_ONLY = "Plaintext authentication disallowed on non-secure (SSL/TLS) connections."
SUGGESTED = "Request is throttled. Suggested Backoff Time: 92415 milliseconds"
OUTLOOK_BLOCKED = (
    "LOGIN failed. Account is blocked. Login to your account via a web browser to verify your identity."
)

# Result, code, text, verdict, and where it was seen.
TEXTS = [
    ("NO", "AUTHENTICATIONFAILED", "Invalid credentials (Failure)", C, "Gmail: node-imap#826"),
    ("NO", "ALERT", APP, C, "Gmail: mutt-wizard#831"),
    ("NO", "ALERT", WEB, C, "Gmail: php-imap#87"),
    ("NO", "WEBALERT", "Web login required.", C, "Gmail: MailSystem.NET#17"),
    ("NO", "ALERT", "Your account is not enabled for IMAP use.", C, "Gmail"),
    ("NO", "ALERT", "Too many simultaneous connections. (Failure)", T, "Gmail: openai-cpa#66"),
    ("NO", "ALERT", "Account exceeded command or bandwidth limits. (Failure)", T, "Gmail"),
    ("NO", None, "System Error (Failure)", T, "Gmail"),
    ("NO", None, "LOGIN failed.", C, "Exchange: MailKit#483"),
    ("NO", None, "AUTHENTICATE failed.", C, "Exchange: MailKit#483"),
    ("NO", None, OUTLOOK_BLOCKED, C, "Outlook: node-imap#799"),
    ("NO", None, "Basic authentication is disabled.", C, "Outlook: uxc#445"),
    ("BAD", None, "User is authenticated but not connected.", T, "Exchange"),
    ("NO", None, SUGGESTED, T, "Exchange"),
    ("NO", "AUTHENTICATIONFAILED", "LOGIN Invalid credentials", C, "Yahoo: enough_mail#245"),
    ("NO", "AUTHENTICATIONFAILED", "AUTHENTICATE Invalid credentials", C, "Yahoo: imapflow#300"),
    ("NO", None, "Too many bad login attempts.", T, "Yahoo: MailKit#320"),
    ("NO", "LIMIT", "LOGIN Rate limit hit", T, "Yahoo: imapflow#75"),
    ("NO", "AUTHENTICATIONFAILED", "Authentication Failed", C, "iCloud: imapfilter#125"),
    ("BAD", "UNAVAILABLE", "Service temporarily unavailable", T, "iCloud: mailcore2#1642"),
    ("BAD", None, "tag LOGIN username password", M, "iCloud: Mew#220"),
    ("BAD", None, "Parse Error", M, "iCloud: imapfilter#27"),
    ("NO", None, QQ, U, "QQ: cursor-auto-free#294"),
    ("NO", None, "LOGIN Login error or password error", C, "163.com"),
    ("NO", None, "login login error password error", C, "sync-engine, test_auth_invalid"),
    ("BAD", None, "Request not ending with \\r\\n", M, "Coremail: himalaya#729"),
    ("NO", None, "authentication failed", C, "web.de: thunderbird-android#5780"),
    ("NO", "AUTHENTICATIONFAILED", "LOGIN invalid credentials or IMAP is disabled", C, "Yandex: Mailspring#2111"),
    (
        "NO", "AUTHENTICATIONFAILED", "NEOBHODIM parol prilozheniya / Application password is REQUIRED", C,
        "mail.ru: thunderbird-android#9069",
    ),
    ("NO", "ALERT", "You are yet to enable IMAP for your account. Please contact your administrator", C, "Zoho"),
    ("NO", None, "Login failed - please create an app password.", C, "Purelymail: purelymail-issues#337"),
    ("NO", None, "incorrect password or account name", C, "CommuniGate Pro: git mailing list"),
    ("NO", None, "Invalid user name or password.", C, "hMailServer, source"),
    ("NO", None, "Invalid user name. Please use full email address as user name.", C, "hMailServer, source"),
    ("NO", None, "IMAP AUTHENTICATE is not enabled.", M, "hMailServer, source"),
    ("BAD", None, "Unsupported Authenticate mechanism.", M, "hMailServer, source"),
    ("BAD", None, "Goodbye", T, "hMailServer after too many failures, source"),
    ("NO", None, "login rejected", C, "DBMail, source"),
    ("NO", None, "user email@example.com not found", C, "Proton Bridge: mutt-wizard#500"),
    ("NO", None, "LOGIN GroupWise login failed", C, "GroupWise: sync-engine"),
    ("NO", None, "Invalid", C, "sync-engine"),
    ("NO", None, "Login incorrect", C, "sync-engine"),
    ("NO", None, "LOGIN bad", C, "sync-engine"),
    ("NO", "AUTH", "authentication failed.", C, "sync-engine"),
    ("NO", "AUTHENTICATIONFAILED", "Authentication failed.", C, "Dovecot: mailinabox#2148"),
    ("NO", "UNAVAILABLE", "Temporary authentication failure. [host:2026]", T, "Dovecot"),
    ("NO", "UNAVAILABLE", "Maximum number of connections from user+IP exceeded", T, "Dovecot: node-imap#606"),
    ("NO", "PRIVACYREQUIRED", TLS_ONLY, C, "Dovecot: docker-mailserver#1026"),
    ("NO", None, "Unsupported authentication mechanism.", M, "Dovecot"),
    ("NO", None, "no mechanism available", M, "Cyrus"),
    ("NO", None, "Login failed: authentication failure", C, "Cyrus"),
    ("NO", None, "Error in IMAP command received by server.", M, "Courier"),
    ("BAD", None, "Error in IMAP command IDLE: Unknown command.", M, "Naver: imapclient#238"),
    ("BAD", None, "Invalid characters in atom", M, "Dovecot: nylas-mail#2479"),
    ("BAD", None, "Invalid literal size", M, "Dovecot: enough_mail#158"),
    ("NO", "SERVERBUG", "Internal server error", T, "go-imap#675"),
    ("NO", None, "System error", T, "Mailpile#2242"),
    ("NO", None, "Server Unavailable. 15", T, "offlineimap#682"),
    ("NO", "CANNOT", "Unknown mechanism", M, "RFC 5530"),
    ("NO", "EXPIRED", "Change your password", C, "RFC 5530"),
    ("NO", "CONTACTADMIN", "See the help desk", C, "RFC 5530"),
    ("NO", "INUSE", "Mailbox in use", T, "RFC 5530"),
    ("NO", "OVERQUOTA", "x", T, "RFC 5530"),
    ("NO", "REFERRAL", "Try another server", C, "RFC 2221"),
    ("BAD", None, "Invalid credentials", C, "own"),
    ("BAD", None, "Command unrecognized", M, "own"),
    ("NO", None, "Your account is temporarily locked", U, "own"),
    ("NO", None, "Die Anmeldung ist vorübergehend nicht möglich", T, "own"),
    ("NO", None, "Benutzername oder Passwort falsch", C, "own"),
    ("NO", None, "Service indisponible, réessayez plus tard", T, "own"),
    ("NO", None, "Mot de passe incorrect", C, "own"),
    ("NO", None, "Inténtelo de nuevo más tarde", T, "own"),
    ("NO", None, "系统繁忙，请稍后再试", T, "own"),
    ("NO", None, "用户名或密码错误", C, "own"),
    ("NO", None, "Сервис временно недоступен", T, "own"),
    ("NO", None, "Неверный пароль", C, "own"),
    ("NO", None, "", C, "RFC 9051 section 6.2.3"),
    ("BAD", None, "", M, "RFC 9051 section 6.2.3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("result", "code", "text", "verdict", "_source"), TEXTS, ids=[row[2][:40] for row in TEXTS]
)
def test_the_refusals_of_known_servers_are_told_apart(result, code, text, verdict, _source):
    assert judge_refusal([Answer(result, code, text)]) is verdict


@pytest.mark.parametrize(
    ("detail", "verdict"),
    [
        ('{"status":"400","schemes":"Bearer"}', C),
        ('{"status":"401"}', C),
        ('{"status":"invalid_token"}', C),
        ('{"status":"429"}', T),
        ('{"status":"503"}', T),
        ("no json", C),
        ("[" * 9000, C),
    ],
)
def test_the_json_of_an_oauth_refusal_decides_where_there_is_no_code(detail, verdict):
    assert judge_refusal([Answer("NO", None, "x")], detail) is verdict


def test_an_untagged_no_explains_a_tagged_one_without_a_code():
    tagged = Answer("NO", None, "try again later")

    assert judge_refusal([tagged, Answer("NO", "WEBALERT", "Web login required.")]) is C
    assert judge_refusal([Answer("NO", None, "failed"), Answer("NO", "UNAVAILABLE", "x")]) is T


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("NO", "AUTHENTICATIONFAILED", "x"), True),
        (Answer("BYE", None, "Authentication failed, closing connection"), True),
        (Answer("BYE", None, "Invalid password"), True),
        (Answer("BYE", None, "Too many login failures"), False),
        (Answer("BYE", "UNAVAILABLE", "authentication failed"), False),
        (Answer("BYE", None, "internal db error validating user"), False),
        (Answer("BYE", None, "Autologout; idle for too long"), False),
        (Answer("BYE", None, "Too many invalid IMAP commands."), False),
        (Answer("NO", "ALERT", "Mailbox is at 98% of quota"), False),
        (Answer("BYE", None, ""), False),
    ],
)
def test_only_a_text_that_names_the_credentials_refuses_them_without_a_tagged_answer(answer, expected):
    assert names_credentials(answer) is expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("ALERT", APP, "app password"),
        (None, "Login failed - please create an app password.", "app password"),
        ("AUTHENTICATIONFAILED", "NEOBHODIM parol prilozheniya", "app password"),
        ("ALERT", WEB, "provider's website"),
        (None, OUTLOOK_BLOCKED, "provider's website"),
        (None, "Basic authentication is disabled.", "OAuth 2.0"),
        ("ALERT", "You are yet to enable IMAP for your account.", "IMAP may be switched off"),
        ("AUTHENTICATIONFAILED", "LOGIN invalid credentials or IMAP is disabled", "IMAP may be switched off"),
        ("ALERT", "Your account is not enabled for IMAP use.", "IMAP may be switched off"),
        (None, QQ, "IMAP may be switched off"),
        ("PRIVACYREQUIRED", TLS_ONLY, "TLS"),
        ("EXPIRED", "x", "expired"),
        (None, "Your account has been suspended", "locked or disabled"),
        ("REFERRAL", "Try another server", "another server"),
        ("AUTHENTICATIONFAILED", "Invalid credentials (Failure)", ""),
    ],
)
def test_the_person_is_told_what_to_do_where_the_server_says_it(code, text, expected):
    sentence = advice([Answer("NO", code, text)])

    assert expected in sentence
    assert bool(sentence) == bool(expected)
