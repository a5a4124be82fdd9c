"""Connecting people by consent or password, and disconnecting them."""
