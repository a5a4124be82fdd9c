"""Tables of the database. Importing this package registers every table."""

from superimap.db.models.audit import AuditEntry
from superimap.db.models.base import Base
from superimap.db.models.cluster import Idler, Shard, ShardUserSum, VaultCanary, Vouch
from superimap.db.models.connecting import LoginTry, OAuthState, UsedLink
from superimap.db.models.delivery import Attempt, Delivery, DeliveryLease, Endpoint
from superimap.db.models.mail import DeferredMail, Mailbox, Message, Tracer
from superimap.db.models.partner import Allowance, ApiKey, Partner, SigningSecret
from superimap.db.models.provider import Provider
from superimap.db.models.quota import PartnerQuota, PartnerUsage
from superimap.db.models.user import Connection, User, UserEvent

__all__ = [
    "Allowance",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Base",
    "Connection",
    "DeferredMail",
    "Delivery",
    "DeliveryLease",
    "Endpoint",
    "Idler",
    "LoginTry",
    "Mailbox",
    "Message",
    "OAuthState",
    "Partner",
    "PartnerQuota",
    "PartnerUsage",
    "Provider",
    "Shard",
    "ShardUserSum",
    "SigningSecret",
    "Tracer",
    "UsedLink",
    "User",
    "UserEvent",
    "VaultCanary",
    "Vouch",
]
