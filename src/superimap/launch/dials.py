"""Network destinations of each process, which network policies and firewalls must allow."""

from enum import StrEnum


class ServerKind(StrEnum):
    """A kind of server that SuperIMAP connects to."""

    DNS = "DNS"
    POSTGRESQL = "PostgreSQL"
    REDIS = "Valkey or Redis"
    MAIL = "Mail servers"
    OAUTH = "OAuth 2.0 providers"
    WEBHOOK = "Webhook receivers"
    SUBMISSION = "SMTP servers, for tracers"


DIALLED_PORTS = {
    ServerKind.DNS: (53,),
    ServerKind.POSTGRESQL: (5432,),
    ServerKind.REDIS: (6379,),
    ServerKind.MAIL: (993, 143),
    ServerKind.OAUTH: (443,),
    ServerKind.WEBHOOK: (443, 80),
    ServerKind.SUBMISSION: (587, 465),
}
"""Usual ports. PostgreSQL, Valkey, mail servers (IMAP_PORTS) and receivers may have others."""

_DATABASE = frozenset({ServerKind.DNS, ServerKind.POSTGRESQL})

PROCESS_DIALS = {
    # The password form logs in at the mail server, a test webhook is sent, and consents are exchanged for tokens.
    "api": frozenset(ServerKind) - {ServerKind.SUBMISSION},
    "idler": _DATABASE | {ServerKind.REDIS, ServerKind.MAIL, ServerKind.OAUTH, ServerKind.SUBMISSION},
    "dispatcher": _DATABASE | {ServerKind.REDIS, ServerKind.WEBHOOK},
    "migrate": _DATABASE,
}
