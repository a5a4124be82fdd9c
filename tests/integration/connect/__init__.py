"""Connecting people: by consent, by password, and out again."""
