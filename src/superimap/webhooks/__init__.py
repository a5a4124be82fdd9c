"""Webhooks: their payloads, their signatures and the rules for their URLs. No HTTP client, no database."""
