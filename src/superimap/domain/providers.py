"""Providers: sign-in methods, transport security and polling methods."""

from enum import StrEnum


class ProviderKind(StrEnum):
    """How users of a provider prove who they are."""

    PLAIN = "PLAIN"
    OAUTH2 = "OAUTH2"


class GrantType(StrEnum):
    """How an OAuth 2.0 provider comes to let us in (RFC 6749 section 1.3); None means as by a code."""

    AUTHORIZATION_CODE = "authorization_code"
    CLIENT_CREDENTIALS = "client_credentials"


class Tls(StrEnum):
    """How the way to a server is secured: at once, by STARTTLS, or not at all."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


class PollBy(StrEnum):
    """How a mailbox is asked for news where IDLE is missing or lies."""

    NOOP = "noop"
    STATUS = "status"
