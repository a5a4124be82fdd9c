"""How people let us into their mail accounts: signed links, consent, tokens."""
