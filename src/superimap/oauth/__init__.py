"""OAuth 2.0 towards mail providers, and the signed links with which a person connects or disconnects a mailbox."""
