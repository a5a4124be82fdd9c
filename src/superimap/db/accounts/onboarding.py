"""Creation of users, one or many in a transaction, within the quotas of their partner."""

from collections.abc import Collection, Sequence

from asyncpg import Connection

from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.db.accounts import link_usage, new_users, room
from superimap.db.accounts.link_usage import TooManyPasswords, TryLimit
from superimap.db.accounts.new_users import ShownUser, UserExists, UserTarget, UserToCreate
from superimap.db.accounts.room import QuotaExceeded, QuotaPolicy
from superimap.db.accounts.user_changes import (
    check_password_has_server,
    check_shared_mailbox_has_address,
    required_fields,
    used_values,
)
from superimap.db.accounts.validation.accounts import UserFields, validate_account
from superimap.domain.audit import Actor
from superimap.domain.quotas import Quota

Result = ShownUser | SuperImapError
"""The new user, or why it was not created."""


class Onboarding:
    """Creation of users of one connection, in the caller's transaction. `actor` is named in the audit log."""

    def __init__(
        self, db: Connection, vault: Vault, target: UserTarget, *, actor: Actor, policy: QuotaPolicy
    ) -> None:
        self._db = db
        self._vault = vault
        self._target = target
        self._actor = actor
        self._policy = policy
        self._results: dict[int, Result] = {}

    async def create_one(self, fields: UserFields, limits: Collection[TryLimit] = ()) -> ShownUser:
        """Create a user. Raises a RequestError, after which the transaction must be rolled back."""
        (result,) = await self.create([fields], [limits])
        if isinstance(result, SuperImapError):
            raise result
        return result

    async def create(
        self, users: Sequence[UserFields | SuperImapError], limits: Sequence[Collection[TryLimit]]
    ) -> list[Result]:
        """Create those users that can be created, in their order, and return the result of each.

        The result of an error among the users is that error. `limits` are those of each user's password. Users
        that are not created reserve nothing and count as no try. Raises NotFound if the connection was deleted.
        """
        new = [
            checked
            for place, fields in enumerate(users)
            if (checked := self._checked(place, fields, limits[place])) is not None
        ]
        counted = [each for each in new if each.limits]
        if counted:
            await self._count_passwords(counted)
        await self._insert([each for each in new if each.place not in self._results])
        await self._find_conflicts(self._not_created(new))
        unused = [each.limits for each in self._not_created(counted)]
        if unused:
            await link_usage.give_back_tries(self._db, unused)
        return [self._results[place] for place in range(len(users))]

    def _checked(
        self, place: int, fields: UserFields | SuperImapError, limits: Collection[TryLimit]
    ) -> UserToCreate | None:
        """Return the user with the values that its provider uses; None, with a result, if one is not valid."""
        target = self._target
        try:
            if isinstance(fields, SuperImapError):
                raise fields
            values = used_values(target, None, validate_account({"tag": None, **fields}))
            check_password_has_server(target, None, values)
            check_shared_mailbox_has_address(None, values)
        except SuperImapError as error:
            self._results[place] = error
            return None
        is_complete = all(values.get(name) for name in required_fields(target))
        return UserToCreate(place, target.user_ids[place], values, is_complete, limits)

    async def _count_passwords(self, users: Sequence[UserToCreate]) -> None:
        """Count the passwords for their mailboxes: a stolen key must not guess passwords through idlers."""
        found = await link_usage.count_tries(self._db, [each.limits for each in users])
        for each, exceeded in zip(users, found, strict=True):
            if exceeded is not None:
                self._results[each.place] = TooManyPasswords(exceeded)

    async def _insert(self, users: Sequence[UserToCreate]) -> None:
        """Insert the users at once if the quotas have room for all of them, else one after the other."""
        if not users:
            return
        has_room = await self._insert_at_once(users)
        if not has_room and await self._refill(users):
            has_room = await self._insert_at_once(users)
        if not has_room:
            await self._insert_each(users)

    async def _find_conflicts(self, users: Sequence[UserToCreate]) -> None:
        """Say of users that were not created whether they exist, whatever else has refused them.

        A request that is repeated after a lost response may have used up the quotas itself.
        """
        refused = [each for each in users if each.place not in self._results or not each.is_archived]
        if not refused:
            return
        for place, conflict in (await new_users.find_conflicts(self._db, self._target, refused)).items():
            if place not in self._results or isinstance(conflict, UserExists):
                self._results[place] = conflict

    async def _insert_at_once(self, users: Sequence[UserToCreate]) -> bool:
        """Insert those whose tag and email are free; return False, with nothing changed, without room for all."""
        wanted = {quota: _count(users, quota) for quota in room.COUNTED}
        inserted = await self._insert_rows(users, wanted)
        if not (inserted.has_users and inserted.has_sessions):
            if inserted.has_users:
                await self._give_back(Quota.USERS, wanted[Quota.USERS])
            return False
        refused = self._not_created(users)
        for quota in room.COUNTED:
            await self._give_back(quota, _count(refused, quota))
        return True

    async def _insert_each(self, users: Sequence[UserToCreate]) -> None:
        """Insert one user after the other, as far as the quotas allow it."""
        full: dict[Quota, QuotaExceeded] = {}
        for user in users:
            refusal = next((full[quota] for quota in user.quotas if quota in full), None)
            if refusal is not None:
                self._results[user.place] = refusal
                continue
            reserved: list[Quota] = []
            try:
                for quota in user.quotas:
                    await room.reserve(self._db, self._target.partner_id, quota, policy=self._policy)
                    reserved.append(quota)
            except QuotaExceeded as error:
                self._results[user.place] = full[error.quota] = error
            else:
                await self._insert_rows([user], dict.fromkeys(room.COUNTED, 0))
            if not isinstance(self._results.get(user.place), ShownUser):
                for quota in reserved:
                    await self._give_back(quota, 1)

    async def _refill(self, users: Sequence[UserToCreate]) -> bool:
        """Count what is left of the quotas; return whether that suffices for all."""
        for quota in room.COUNTED:
            wanted = _count(users, quota)
            if wanted and wanted > await room.refill(
                self._db, self._target.partner_id, quota, wanted=wanted, policy=self._policy
            ):
                return False
        return True

    async def _insert_rows(
        self, users: Sequence[UserToCreate], wanted: dict[Quota, int]
    ) -> new_users.Inserted:
        inserted = await new_users.insert(
            self._db,
            self._vault,
            self._target,
            users,
            actor=self._actor,
            wanted=wanted,
            defaults=self._policy.defaults,
        )
        self._results.update(inserted.created)
        return inserted

    async def _give_back(self, quota: Quota, number: int) -> None:
        await room.give_back(self._db, self._target.partner_id, quota, number)

    def _not_created(self, users: Sequence[UserToCreate]) -> list[UserToCreate]:
        return [each for each in users if not isinstance(self._results.get(each.place), ShownUser)]


def _count(users: Sequence[UserToCreate], quota: Quota) -> int:
    """Count what the users need of a quota."""
    return sum(quota in each.quotas for each in users)
