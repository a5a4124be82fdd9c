"""Network destinations of each process, which network policies and firewalls must allow."""

from enum import StrEnum


class Destination(StrEnum):
    """A kind of server that SuperIMAP connects to."""

    DNS = "DNS"
    POSTGRESQL = "PostgreSQL"
    REDIS = "Valkey or Redis"
    MAIL = "Mail servers"
    OAUTH = "OAuth 2.0 providers"
    WEBHOOK = "Webhook receivers"


DIALLED_PORTS = {
    Destination.DNS: (53,),
    Destination.POSTGRESQL: (5432,),
    Destination.REDIS: (6379,),
    Destination.MAIL: (993, 143),
    Destination.OAUTH: (443,),
    Destination.WEBHOOK: (443, 80),
}
"""Usual ports. PostgreSQL, Valkey, mail servers (IMAP_PORTS) and receivers may have others."""

_DATABASE = frozenset({Destination.DNS, Destination.POSTGRESQL})

PROCESS_DIALS = {
    # The password form logs in at the mail server, a test webhook is sent, and consents are exchanged for tokens.
    "api": frozenset(Destination),
    "idler": _DATABASE | {Destination.REDIS, Destination.MAIL, Destination.OAUTH},
    "dispatcher": _DATABASE | {Destination.REDIS, Destination.WEBHOOK},
    "migrate": _DATABASE,
}
