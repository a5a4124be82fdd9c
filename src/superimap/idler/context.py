"""The parts that all sessions of an idler share."""

from dataclasses import dataclass, field

from asyncpg import Pool

from superimap import __version__
from superimap.core.config import Settings
from superimap.core.content_store import ContentStore
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.db.watching.intake import Fence
from superimap.doorbells.redis import EndpointDoorbell
from superimap.idler.access_tokens import AccessTokens
from superimap.idler.limits import ByteLimits, LoginLimiter
from superimap.idler.liveness import LivenessProofs
from superimap.idler.open_watches import OpenWatches
from superimap.idler.ownership import Ownership
from superimap.idler.partner_holds import PartnerHolds
from superimap.idler.peers import Peers
from superimap.idler.protocol_logs import ProtocolLogs
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Limits


@dataclass(frozen=True, slots=True)
class IdlerContext:
    """Settings, connections and limits for sessions. Made once, by `idler.main`."""

    settings: Settings
    pool: Pool
    vault: Vault
    queue: EndpointDoorbell
    guard: Guard
    tokens: AccessTokens
    ownership: Ownership
    liveness: LivenessProofs
    watches: OpenWatches
    byte_limits: ByteLimits
    peers: Peers
    logins: LoginLimiter
    limits: Limits
    timing: SessionTiming
    tracer_keys: tuple[bytes, ...]
    holds: PartnerHolds = field(default_factory=PartnerHolds)
    protocol_logs: ProtocolLogs = field(default_factory=ProtocolLogs)
    contents: ContentStore = field(default_factory=ContentStore)

    @property
    def client_id(self) -> dict[str, str]:
        """What mail servers are told by ID (RFC 2971): the program and its operator, nothing of the user."""
        settings = self.settings
        fields = {
            "name": "SuperIMAP",
            "version": __version__,
            "vendor": settings.imap_id_vendor,
            "support-url": settings.imap_id_support_url,
        }
        return {name: value for name, value in fields.items() if value}

    def fence(self, shard: int) -> Fence | None:
        """Return the ownership of a shard that each write for it asserts; None if it is lost already."""
        epoch = self.ownership.epochs.get(shard)
        return None if epoch is None else Fence(shard, self.ownership.idler, epoch)
