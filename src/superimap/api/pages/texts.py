"""What is a person told? One sentence for each outcome, and how one gets a password for an application."""

from superimap.oauth.links import Purpose
from superimap.oauth.return_urls import FailureReason

SUCCESS_TEXTS = {
    Purpose.CONNECT: ("You are connected", "Your mailbox is connected. You can close this window."),
    Purpose.DISCONNECT: (
        "You are disconnected",
        "Your mailbox is no longer connected, and what opened it has been deleted. You can close this window.",
    ),
}
FAILURE_TITLES = {
    Purpose.CONNECT: "Your mailbox was not connected",
    Purpose.DISCONNECT: "Your mailbox was not disconnected",
}
NO_CONSENT_NEEDED = (
    "There is nothing to do here",
    "Your organisation's administrator opens its mailboxes to this application: nobody else has to consent. "
    "You can close this window.",
)
TRY_AGAIN = "Open the link that you were sent once more to try again."
FAILURE_TEXTS = {
    FailureReason.DENIED: f"You, or your administrator, did not allow it. {TRY_AGAIN}",
    FailureReason.WRONG_ACCOUNT: "You signed in with another account than the one that this link is for. "
    "Open the link once more, and choose the account with the address that the application knows.",
    FailureReason.NO_REFRESH_TOKEN: "Your mail provider gave access for an hour only. Remove the application from "
    "your account's list of connected applications, then open the link once more.",
    FailureReason.NO_MAIL_SCOPE: "You signed in, but did not allow the application to read your mail. "
    "Open the link once more, and leave the box ticked that is about your mail.",
    FailureReason.NO_ADDRESS: "Your mail provider did not tell which account you signed in with. "
    "Tell the application's support.",
    FailureReason.ADDRESS_TAKEN: "This mailbox is connected for somebody else already. "
    "Tell the application's support.",
    FailureReason.REFUSED: f"Your mail provider did not confirm the sign-in. {TRY_AGAIN}",
    FailureReason.CLIENT: "The application is not set up correctly at your mail provider. "
    "Tell the application's support; trying again will not help.",
    FailureReason.UNAVAILABLE: f"Your mail provider does not answer at the moment. Wait a minute. {TRY_AGAIN}",
}

SERVER_NOT_FOUND = (
    "We found no mail server there. Check the name and the port: your provider's help pages tell them under IMAP, "
    "the port is mostly 993. The server must be reachable from the Internet, and its certificate in order."
)

PROBLEM_TITLES = {
    "link-unknown": "This link does not work",
    "link-expired": "This link has expired",
    "link-used": "This link has been used",
    "consent-unknown": "This sign-in cannot be finished here",
    "return-refused": "This link is not in order",
    "form-forged": "Please open the link again",
    "too-many": "Please wait a moment",
    "unavailable": "We are out of order for a moment",
}

# How one gets a password for one application, by the beginning of the provider's code.
APP_PASSWORD_HINTS = {
    "GMAIL": "Google asks for an app password: Google Account › Security › 2-Step Verification › App passwords.",
    "YAHOO": "Yahoo asks for an app password: Account info › Security › Generate app password.",
    "AOL": "AOL asks for an app password: Account info › Security › Generate app password.",
    "ICLOUD": "Apple asks for an app-specific password: account.apple.com › Sign-In and Security.",
    "FASTMAIL": "Fastmail asks for an app password: Settings › Privacy & Security › App passwords.",
    "ZOHO": "Switch IMAP on in Zoho Mail's settings; with two-factor sign-in, use an app-specific password.",
    "YANDEX": "Yandex asks for an app password: Yandex ID › Security › App passwords, kind Mail.",
    "MAILRU": "Mail.ru asks for a password for external applications: Account › Security.",
}


def app_password_hint(code: str) -> str | None:
    """How to get a password that this provider takes, if it is known to want a special one."""
    return APP_PASSWORD_HINTS.get(code.partition("_")[0])


def provider_name(title: str) -> str:
    """A provider's title as a person knows it: without what stands in brackets for those who choose."""
    return title.partition(" (")[0]
