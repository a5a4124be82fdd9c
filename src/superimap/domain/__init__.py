"""Vocabulary and pure rules: statuses, outcomes, schedules, events. Imports no database or web library."""
