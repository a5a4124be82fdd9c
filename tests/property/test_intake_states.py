"""Ownership and intake, explored by states: the real deciders of idlers, on tables in memory.

The tables have the conditions of the SQL statements (docs/model/README.md). Idlers are killed and frozen, answers
are lost, and time passes, in any order. In the end the faults stop, and every mail is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from superimap.db.presence import Absences
from superimap.db.watching.intake import Cursor, cursor_at
from superimap.db.watching.ownership import Member
from superimap.domain.mails import MailFacts, MailOutcome, judge
from superimap.domain.numbering import Numbering
from superimap.idler import balance
from superimap.idler.balance import Load
from superimap.idler.catch_up_plan import plan_catch_up
from superimap.idler.presence import PresenceTiming, Server, absence_limit

EXPIRY_SECONDS = 30.0
INTERVAL_SECONDS = 10.0
SHARDS = (0, 1, 2)  # with one user each, whose id is that of the shard
NUMBERING = Numbering(1, 0, 1)
ACTIONS = ("mail_arrives", "pass_time", "disturb", "join", "work", "work", "work", "work")
CONNECTED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Session:
    """A session as it opened its mailbox, and the batch that it may have sent already."""

    epoch: int
    cursor: Cursor
    batch: tuple[int, ...] = ()


@dataclass
class Process:
    """An idler; `lock` says that it holds its advisory lock."""

    absences: Absences
    heartbeat_at: float
    is_frozen: bool = False
    has_ended: bool = False
    lock: bool = True
    is_absent: bool = False
    users: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)

    @property
    def acts(self) -> bool:
        return not (self.is_frozen or self.has_ended)


class IntakeStates(RuleBasedStateMachine):
    """Idlers, the rows of PostgreSQL that they share, and the mailboxes of three users."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.idlers: dict[int, Process] = {}
        self.owners: dict[int, tuple[int | None, int]] = dict.fromkeys(SHARDS, (None, 0))
        self.cursors = dict.fromkeys(SHARDS, cursor_at(NUMBERING, 0, None))
        self.recorded: set[tuple[int, int]] = set()
        self.mails = dict.fromkeys(SHARDS, 0)

    @initialize()
    def start(self) -> None:
        self.join()
        self.join()

    # One rule for all actions: hypothesis leaves some rules out of most runs.
    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def act(self, data: st.DataObject, action: str) -> None:
        getattr(self, action)(data)

    def join(self, _: st.DataObject | None = None) -> None:
        if len(self.idlers) < 5:
            self.idlers[len(self.idlers) + 1] = Process(Absences(clock=lambda: self.now), self.now)

    def pass_time(self, data: st.DataObject) -> None:
        self.now += data.draw(st.sampled_from([0.3, 1.0, 5.0, 12.0, 35.0]))

    def mail_arrives(self, data: st.DataObject) -> None:
        self.mails[data.draw(st.sampled_from(SHARDS))] += 1

    def choose(self, data: st.DataObject, **wanted: bool) -> int | None:
        found = [
            id_
            for id_, each in self.idlers.items()
            if all(getattr(each, name) is value for name, value in wanted.items())
        ]
        return data.draw(st.sampled_from(found)) if found else None

    def disturb(self, data: st.DataObject) -> None:
        fault = data.draw(st.sampled_from(["kill", "freeze", "thaw", "lose lock", "regain lock"]))
        if (id_ := self.choose(data, has_ended=False)) is None:
            return
        idler = self.idlers[id_]
        match fault:
            case "kill":
                idler.has_ended, idler.lock = True, False
                idler.sessions.clear()
            case "freeze" | "thaw":
                idler.is_frozen = fault == "freeze"
            case "lose lock":
                idler.lock = False
            case _ if idler.acts:
                self.register(idler)

    def register(self, idler: Process) -> None:
        idler.lock, idler.is_absent = True, False

    def beat(self, idler: Process) -> None:
        idler.heartbeat_at, idler.users = self.now, len(idler.epochs)

    def lives(self, idler: Process) -> bool:
        return self.now - idler.heartbeat_at < EXPIRY_SECONDS and not idler.is_absent

    def work(self, data: st.DataObject) -> None:
        if (id_ := self.choose(data, acts=True)) is None:
            return
        match data.draw(st.sampled_from(["beat", "look", "round", "session", "session"])):
            case "beat":
                self.beat(self.idlers[id_])
            case "look":
                self.look(id_)
            case "round":
                self.round(id_)
            case _:
                for shard in [*self.idlers[id_].epochs]:
                    self.step_of_session(id_, shard, loses_answer=data.draw(st.booleans()))

    def look(self, id_: int) -> None:
        timing = PresenceTiming()
        limit = absence_limit(Server.SAME, is_cautious=False, interval=INTERVAL_SECONDS, timing=timing)
        absent = {
            other: limit
            for other, each in self.idlers.items()
            if other != id_ and not each.lock and not each.is_absent
        }
        for dead in self.idlers[id_].absences.record(absent):
            self.idlers[dead].is_absent = True

    def members(self) -> list[Member]:
        count = {id_: sum(owner == id_ for owner, _ in self.owners.values()) for id_ in self.idlers}
        return [
            Member(id_, 10, each.users, count[id_], is_stopping=False)
            for id_, each in self.idlers.items()
            if self.lives(each)
        ]

    def round(self, id_: int) -> None:
        idler, members = self.idlers[id_], self.members()
        mine = {shard: epoch for shard, (owner, epoch) in self.owners.items() if owner == id_}
        for shard in [shard for shard, epoch in idler.epochs.items() if mine.get(shard) != epoch]:
            idler.sessions.pop(shard, None)
        idler.epochs = mine
        if not any(member.id == id_ for member in members):
            return
        free = {
            shard
            for shard, (owner, _) in self.owners.items()
            if owner is None or not self.lives(self.idlers[owner])
        }
        for shard in balance.shards_to_take(id_, members, free):
            idler.epochs[shard] = self.change_owner(shard, id_)
        loads = {shard: Load(1, int(shard in idler.sessions)) for shard in idler.epochs}
        for move in balance.hand_overs(id_, members, loads):
            idler.sessions.pop(move.shard, None)
            del idler.epochs[move.shard]
            self.change_owner(move.shard, move.target)

    def change_owner(self, shard: int, owner: int) -> int:
        epoch = self.owners[shard][1] + 1
        self.owners[shard] = owner, epoch
        return epoch

    def step_of_session(self, id_: int, shard: int, *, loses_answer: bool = False) -> None:
        """Open the mailbox, find mails, or record them: one step for each call."""
        idler = self.idlers[id_]
        session = idler.sessions.get(shard)
        if session is None:
            if self.owners[shard] == (id_, idler.epochs[shard]):
                idler.sessions[shard] = Session(idler.epochs[shard], self.cursors[shard])
        elif not session.batch:
            moment = datetime.now(UTC)
            plan = plan_catch_up(session.cursor, NUMBERING, connected_at=CONNECTED, now=moment)
            assert plan.after is not None
            session.batch = tuple(range(plan.after + 1, self.mails[shard] + 1))
        elif not self.record(id_, shard, session):
            del idler.sessions[shard]
        elif not loses_answer:
            session.cursor, session.batch = cursor_at(NUMBERING, max(session.batch), None), ()

    def record(self, id_: int, shard: int, session: Session) -> bool:
        """The statement `record_mails`; False if the session is fenced."""
        new = cursor_at(NUMBERING, max(session.batch), None)
        if self.owners[shard] != (id_, session.epoch) or self.cursors[shard] not in (session.cursor, new):
            return False
        facts = MailFacts(connected_at=CONNECTED, max_size=1, raw=b"")
        for uid in session.batch:
            assert judge(facts)[0] is MailOutcome.DELIVERED
            self.recorded.add((shard, uid))
        self.cursors[shard] = replace(new)
        return True

    @invariant()
    def the_cursor_passes_no_mail_that_is_not_recorded(self) -> None:
        for shard, cursor in self.cursors.items():
            assert all((shard, uid) in self.recorded for uid in range(1, (cursor.last_uid or 0) + 1))

    @invariant()
    def at_most_one_idler_can_write_for_a_shard(self) -> None:
        for shard, owned in self.owners.items():
            writers = [
                id_
                for id_, each in self.idlers.items()
                if shard in each.sessions and (id_, each.sessions[shard].epoch) == owned
            ]
            assert len(writers) <= 1

    def teardown(self) -> None:
        """Without further faults, the idlers that are left or started again record all mail within minutes."""
        if not any(each.acts for each in self.idlers.values()):
            self.idlers[99] = Process(Absences(clock=lambda: self.now), self.now)
        for _ in range(120):
            self.now += 1.0
            for id_, idler in self.idlers.items():
                if idler.acts:
                    self.register(idler)
                    self.beat(idler)
                    self.look(id_)
                    self.round(id_)
                    for shard in [*idler.epochs]:
                        self.step_of_session(id_, shard)
        for shard, count in self.mails.items():
            assert {uid for at, uid in self.recorded if at == shard} == {*range(1, count + 1)}


TestIntakeStates = IntakeStates.TestCase
TestIntakeStates.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
