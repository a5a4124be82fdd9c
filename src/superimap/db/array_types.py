"""Descriptions of PostgreSQL's built-in array types, as asyncpg expects them of the server.

asyncpg asks the server for each array type that a connection sees for the first time, by a query that takes 6 ms
of the server's CPU time. After a failover every connection is new. PostgreSQL never changes the OIDs of built-in
types (src/include/catalog/pg_type.dat).
"""

from __future__ import annotations

from typing import Any

_ELEMENTS = {
    1000: ("_bool", 16),
    1001: ("_bytea", 17),
    1003: ("_name", 19),
    1005: ("_int2", 21),
    1007: ("_int4", 23),
    1016: ("_int8", 20),
    1022: ("_float8", 701),
    1185: ("_timestamptz", 1184),
    2287: ("_record", 2249),
    2951: ("_uuid", 2950),
}
"""The name and the OID of the elements, by the OID of the array."""


def _describe(oid: int, name: str, element: int) -> dict[str, Any]:
    return {
        "oid": oid,
        "ns": "pg_catalog",
        "name": name,
        "kind": b"p" if name == "_record" else b"b",
        "basetype": None,
        "elemtype": element,
        "elemdelim": b",",
        "range_subtype": None,
        "attrtypoids": None,
        "attrnames": None,
    }


BUILT_IN_ARRAYS = {oid: _describe(oid, name, element) for oid, (name, element) in _ELEMENTS.items()}
"""The row that asyncpg's query returns for each type, by its OID."""


class Described:
    """The name of the statement that described a type; one without a name would invalidate others."""

    name = "built-in"
