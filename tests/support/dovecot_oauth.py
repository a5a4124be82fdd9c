"""Dovecot with login by access token, checked by token introspection at the fake provider (RFC 7662)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from superimap.testing.oauth.server import OAuthServer
from tests.support import needs
from tests.support.dovecot import DOVECOT_PROGRAM, Dovecot, running

SETTINGS = """
auth_mechanisms = {mechanisms}
auth_cache_size = 0
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {{base}}/oauth2
}}
"""


@contextlib.contextmanager
def trusting(provider: OAuthServer, *, mechanisms: str = "xoauth2 oauthbearer") -> Iterator[Dovecot]:
    """A Dovecot that accepts this provider's tokens for the mailbox of the person they were issued for."""
    if DOVECOT_PROGRAM is None:
        needs("Dovecot: apt-get install dovecot-imapd")
    client = provider.add_client(client_id="dovecot")
    address = provider.url("/introspect").replace("://", f"://{client.client_id}:{client.client_secret}@")
    with running(
        SETTINGS.format(mechanisms=mechanisms),
        oauth2=f"""
            introspection_mode = post
            introspection_url = {address}
            openid_configuration_url = {provider.url("/.well-known/openid-configuration")}
            username_attribute = email
            active_attribute = active
            active_value = true
            scope = mail
            timeout_msecs = 5000
        """.replace("            ", ""),
    ) as server:
        yield server
