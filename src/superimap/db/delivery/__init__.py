"""Statements of the dispatcher: claim, settle, endpoint health, sweeping; and replay, for the API."""
