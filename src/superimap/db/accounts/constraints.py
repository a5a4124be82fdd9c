"""Mapping from violated database constraints to the errors that the API reports."""

from typing import NoReturn

from superimap.db.errors import Conflict, NotFound


class ValueTaken(Conflict):
    """Another row already has this value. `field` names the field."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


TAG_TAKEN = (
    "Another user of this connection already has this tag (letter case is ignored). "
    "Update or archive that user, or choose another tag."
)
EMAIL_TAKEN = (
    "Another user of this connection already has this email (letter case is ignored). "
    "Update or archive that user."
)
CHANGED_MEANWHILE = "This row was changed by another request; read it and try again."


def raise_conflict(error: Exception) -> NoReturn:
    """Raise the error for the constraint that a change of a connection or user violated."""
    match _constraint(error):
        case "uq_users_tag":
            raise ValueTaken("tag", TAG_TAKEN) from None
        case "uq_users_email":
            raise ValueTaken("email", EMAIL_TAKEN) from None
        case "uq_connections_partner_id_provider_id":
            raise ValueTaken(
                "imap_provider_code", "A connection to this provider already exists; update that connection."
            ) from None
        case "fk_users_connection_id_partner_id":
            raise NotFound("Connection not found.") from None
        case _:
            raise Conflict(CHANGED_MEANWHILE) from None


def _constraint(error: Exception) -> str | None:
    """Name of the violated constraint. asyncpg provides it; SQLAlchemy wraps asyncpg's error."""
    cause: BaseException | None = getattr(error, "orig", error)
    while cause is not None:
        if name := getattr(cause, "constraint_name", None):
            return str(name)
        cause = cause.__cause__
    return None
