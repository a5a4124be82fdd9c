"""Statements of the dispatcher: claim, settle, endpoint health, sweeping."""
