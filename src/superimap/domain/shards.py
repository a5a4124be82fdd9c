"""Shards: the unit in which idlers share users."""

SHARDS = 4096
