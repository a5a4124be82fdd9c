"""Texts for people: titles and sentences for each result."""

from superimap.oauth.links import Purpose
from superimap.oauth.return_urls import FailureReason

SUCCESS_TEXTS = {
    Purpose.CONNECT: ("You are connected", "Your mailbox is connected. You can close this window."),
    Purpose.DISCONNECT: (
        "You are disconnected",
        "Your mailbox is no longer connected, and its credentials have been deleted. You can close this window.",
    ),
}
FAILURE_TITLES = {
    Purpose.CONNECT: "Your mailbox was not connected",
    Purpose.DISCONNECT: "Your mailbox was not disconnected",
}
NO_CONSENT_NEEDED = (
    "There is nothing to do here",
    "Your organisation's administrator has given this application access to its mailboxes. You do not need to "
    "consent. You can close this window.",
)
TRY_AGAIN = "To try again, open the link that you were sent."
ASK_SUPPORT = "Please contact the application's support."
FAILURE_TEXTS = {
    FailureReason.DENIED: f"You, or your administrator, did not allow access. {TRY_AGAIN}",
    FailureReason.WRONG_ACCOUNT: "You signed in with a different account than the one this link is for. "
    "Open the link again, and choose the account with the address that the application knows.",
    FailureReason.NO_REFRESH_TOKEN: "Your mail provider gave access for one hour only. Remove the application "
    "from your account's list of connected applications, then open the link again.",
    FailureReason.NO_MAIL_SCOPE: "You signed in, but did not allow the application to read your mail. "
    "Open the link again, and leave the box about your mail ticked.",
    FailureReason.NO_ADDRESS: f"Your mail provider did not say which account you signed in with. {ASK_SUPPORT}",
    FailureReason.ADDRESS_TAKEN: f"This mailbox is already connected for another user. {ASK_SUPPORT}",
    FailureReason.QUOTA: f"The application cannot connect any more mailboxes at the moment. {ASK_SUPPORT}",
    FailureReason.REFUSED: f"Your mail provider did not confirm the sign-in. {TRY_AGAIN}",
    FailureReason.CLIENT: "The application is not set up correctly at your mail provider. Trying again will not "
    f"help. {ASK_SUPPORT}",
    FailureReason.UNAVAILABLE: f"Your mail provider is not responding at the moment. Wait a minute. {TRY_AGAIN}",
}

SERVER_NOT_FOUND = (
    "We found no mail server there. Check the name and the port: your provider's help pages list them under IMAP, "
    "and the port is usually 993. The server must be reachable from the Internet and have a valid certificate."
)

BUSY = "Many people are connecting a mailbox at the moment. Wait a few seconds, then try again."

PROBLEM_TITLES = {
    "link-unknown": "This link does not work",
    "link-expired": "This link has expired",
    "link-used": "This link has been used",
    "consent-unknown": "This sign-in cannot be finished here",
    "return-refused": "This link is not valid",
    "form-forged": "Please open the link again",
    "provider-changed": "Please open the link again",
    "foreign-form": "This form is not accepted",
    "old-form": "This form is too old",
    "repeated-form": "This form was sent before",
    "used-link": "This link does not work any more",
    "no-privilege": "The dashboard is not set up",
    "role": "Your role does not allow this",
    "too-many": "Please wait a moment",
    "unavailable": "Please try again in a moment",
}


def provider_name(title: str) -> str:
    """Return a provider's title without the part in brackets, which distinguishes presets."""
    return title.partition(" (")[0]
