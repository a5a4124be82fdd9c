"""Statements of the idler: intake, sessions, shard ownership, access tokens."""
