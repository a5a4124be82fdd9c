"""Tables of the database. Importing this package registers every table."""

from superimap.db.models.activity import Activity, ActivityMark, IdlerActivity, ProviderActivity
from superimap.db.models.audit import AuditEntry
from superimap.db.models.base import Base
from superimap.db.models.cluster import Idler, Shard, ShardUserSum, VaultCanary, Vouch
from superimap.db.models.connecting import LoginTry, OAuthState, UsedLink
from superimap.db.models.delivery import Attempt, Delivery, DeliveryLease, Endpoint
from superimap.db.models.job import Job
from superimap.db.models.mail import DeferredMail, Mailbox, MailFlags, Message
from superimap.db.models.operator import (
    DashboardLink,
    DashboardSession,
    Operator,
    OperatorToken,
    Passkey,
    RecoveryCode,
    UsedForm,
)
from superimap.db.models.partner import Allowance, ApiKey, Partner, SigningSecret
from superimap.db.models.protocol_log import ProtocolLog, ProtocolLogLine
from superimap.db.models.provider import Provider
from superimap.db.models.quota import PartnerQuota, PartnerUsage
from superimap.db.models.sweep import Sweep, SweepMail
from superimap.db.models.tracer import Tracer, TracerDay
from superimap.db.models.user import Connection, TroubledUser, User, UserEvent

__all__ = [
    "Activity",
    "ActivityMark",
    "Allowance",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Base",
    "Connection",
    "DashboardLink",
    "DashboardSession",
    "DeferredMail",
    "Delivery",
    "DeliveryLease",
    "Endpoint",
    "Idler",
    "IdlerActivity",
    "Job",
    "LoginTry",
    "MailFlags",
    "Mailbox",
    "Message",
    "OAuthState",
    "Operator",
    "OperatorToken",
    "Partner",
    "PartnerQuota",
    "PartnerUsage",
    "Passkey",
    "ProtocolLog",
    "ProtocolLogLine",
    "Provider",
    "ProviderActivity",
    "RecoveryCode",
    "Shard",
    "ShardUserSum",
    "SigningSecret",
    "Sweep",
    "SweepMail",
    "Tracer",
    "TracerDay",
    "TroubledUser",
    "UsedForm",
    "UsedLink",
    "User",
    "UserEvent",
    "VaultCanary",
    "Vouch",
]
