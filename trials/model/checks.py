"""The checks of both models: bounds without a violation, and each guard removed."""

from trials.model.checker import ModelCheck

_LANES = ("FAULTS=0", "SWEEPER=0")
"""Without faults, wake-ups suffice: there is no sweeper."""

PROPERTIES = (
    ModelCheck("intake", ("FAULTS=1", "MOVES=0")),
    ModelCheck("intake", ("FAULTS=0", "MOVES=2")),
    ModelCheck("delivery", ("FAULTS=0",)),
    ModelCheck("delivery", (*_LANES, "BUDGETS=2", "LIMIT=2")),
    ModelCheck("delivery", _LANES),
)
"""Bounds that take seconds."""

LARGER_PROPERTIES = (
    ModelCheck("intake", ("FAULTS=1", "MOVES=0"), finds_cycles=True, is_large=True),
    ModelCheck("delivery", ("FAULTS=0",), finds_cycles=True, is_large=True),
    ModelCheck("intake", ("FAULTS=1", "MOVES=1"), is_large=True),
    ModelCheck("delivery", ("FAULTS=1",), is_large=True),
)

GUARDS = (
    ModelCheck("intake", ("FAULTS=1", "MOVES=0", "FENCE=0"), fails=True),
    ModelCheck("intake", ("FAULTS=1", "MOVES=0", "KEY_SHARE=0"), fails=True),
    ModelCheck("intake", ("FAULTS=1", "MOVES=0", "LEASE=0"), fails=True),
    ModelCheck("intake", ("FAULTS=1", "MOVES=0", "ONE_STATEMENT=0"), fails=True),
    ModelCheck("intake", ("FAULTS=1", "MOVES=0", "UNIQUE_KEY=0"), fails=True),
    ModelCheck("intake", ("FAULTS=0", "MOVES=0", "RENEWAL=0"), fails=True),
    ModelCheck("intake", ("FAULTS=2", "MOVES=0", "PRESENCE_LOCK=0"), fails=True, is_shortest=False),
    ModelCheck("delivery", ("FAULTS=1", "BUDGETS=0", "SWEEPER=0"), fails=True),
    ModelCheck("delivery", ("FAULTS=1", "BUDGETS=0", "LEASE_END=0"), fails=True),
    ModelCheck("delivery", ("FAULTS=1", "BUDGETS=0", "SILENCE=0"), fails=True),
    ModelCheck("delivery", ("FAULTS=1", "BUDGETS=0", "SKIP_DEAD_JOB=0"), fails=True),
    ModelCheck("delivery", (*_LANES, "GENERATION=0"), fails=True),
    ModelCheck("delivery", (*_LANES, "MARK_FIRST=0"), fails=True),
    ModelCheck("delivery", (*_LANES, "MARK_LEFT=0"), fails=True),
    ModelCheck("delivery", (*_LANES, "LOOK_AGAIN=0"), fails=True),
    ModelCheck("delivery", (*_LANES, "RING_LAST=0"), fails=True),
)
"""Each guard removed; found in seconds."""

LARGER_GUARDS = (
    ModelCheck(
        "delivery", ("FAULTS=2", "BUDGETS=0", "TOKEN=0"), fails=True, is_shortest=False, is_large=True
    ),
)
