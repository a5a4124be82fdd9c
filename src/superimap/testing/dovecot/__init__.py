"""A real Dovecot server with a temporary configuration."""
