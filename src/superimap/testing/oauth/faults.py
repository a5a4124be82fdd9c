"""Named faults of an authorization server."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = {
    "denied": "the person denies consent: redirect with error=access_denied",
    "unavailable": "the consent page redirects with error=temporarily_unavailable",
    "wrong_state": "redirect with an unknown state",
    "no_state": "redirect without a state",
    "wrong_code": "redirect with an unknown code",
    "wrong_account": "another person signs in than the link is for",
    "no_refresh_token": "an access token without a refresh token",
    "no_mail_scope": "a token without the mail scope, as if the person had unticked it",
    "no_email": "no email address in the ID token or userinfo",
    "unverified_email": "the email address has email_verified false",
    "forged_id_token": "an ID token signed with another key than the provider's",
    "other_audience": "an ID token for another client",
    "other_nonce": "an ID token with an unknown nonce",
    "invalid_grant": "400 invalid_grant: the refresh token or the code is no longer valid",
    "invalid_client": "401 invalid_client: the secret is wrong",
    "consent_required": "400 interaction_required: the person must consent again",
    "unauthorized_client": "400 unauthorized_client",
    "throttled": "429 with Retry-After: 2",
    "server_error": "500 with an HTML page",
    "unready": "503 temporarily_unavailable",
    "garbage": "200 with bytes that are not JSON",
    "no_token": "200 with JSON that has no token",
    "huge": "200 with a body of 8 MiB",
    "hang": "no answer, until the client gives up",
    "redirect": "302 to another path of the provider",
    "userinfo_error": "500 from userinfo",
    "revoke_error": "500 from revocation",
}
"""Every fault with a description. It happens at the consent page or the token endpoint, unless it says otherwise.

Userinfo may still have what an ID token lacks: to affect both, arm `no_email` with `times=None`.
"""

CONSENT_FAULTS = frozenset(
    {"denied", "unavailable", "wrong_state", "no_state", "wrong_code", "wrong_account"}
)
TOKEN_ENDPOINT_FAULTS = frozenset({
    "invalid_grant", "invalid_client", "consent_required", "unauthorized_client", "throttled", "server_error",
    "unready", "garbage", "no_token", "huge", "hang", "redirect",
})  # fmt: skip
TOKEN_CONTENT_FAULTS = frozenset({
    "no_refresh_token", "no_mail_scope", "no_email", "unverified_email", "forged_id_token", "other_audience",
    "other_nonce",
})  # fmt: skip
OTHER_FAULTS = frozenset({"userinfo_error", "revoke_error"})


class UnknownFault(ValueError):
    """No fault has this name."""


@dataclass
class ArmedFault:
    """A fault that will happen. `times` None: until cleared; `email` None: for every person."""

    name: str
    times: int | None
    email: str | None


class Faults:
    """The armed faults, and those that have happened."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []
        self.struck: list[str] = []

    def arm(self, name: str, *, times: int | None = 1, email: str | None = None) -> None:
        """Let the fault `name` happen `times` times. Raises UnknownFault."""
        if name not in FAULTS:
            raise UnknownFault(f"{name!r} is none of {', '.join(sorted(FAULTS))}")
        self._armed.append(ArmedFault(name, times, email))

    def clear(self) -> None:
        """Disarm all faults."""
        self._armed.clear()

    def strike(self, among: frozenset[str], *, email: str | None = None) -> str | None:
        """Return the first armed fault among these, and count it; None if there is none."""
        for armed in self._armed:
            if armed.name in among and armed.email in (None, email):
                if armed.times is not None:
                    armed.times -= 1
                    if armed.times <= 0:
                        self._armed.remove(armed)
                self.struck.append(armed.name)
                return armed.name
        return None
