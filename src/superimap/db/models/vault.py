"""Does this vault open this database? One sealed word per key tells at start."""

from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, SealedBytes, TimestampDefaultNow


class VaultCanary(Base):
    """A known word sealed under one key of the ring; boot refuses to start if none opens."""

    __tablename__ = "vault_canaries"
    key_id: Mapped[str] = mapped_column(primary_key=True)
    word: Mapped[SealedBytes]
    created_at: Mapped[TimestampDefaultNow]
