"""Fake OAuth 2.0 and OpenID Connect provider: `OAuthServer`. `FAULTS` lists the ways in which it can fail."""

from superimap.testing.oauth.faults import FAULTS, UnknownFault
from superimap.testing.oauth.server import OAuthServer

__all__ = ["FAULTS", "OAuthServer", "UnknownFault"]
