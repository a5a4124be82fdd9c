"""In which ways does an authorization server fail its clients? Each by its name."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = {
    "denied": "the person says no: back with error=access_denied",
    "unavailable": "the consent page sends back error=temporarily_unavailable",
    "wrong_state": "back with a state that nobody sent",
    "no_state": "back without a state",
    "wrong_code": "back with a code that was never given",
    "wrong_account": "somebody else signs in than the link was for",
    "no_refresh_token": "a token without a refresh token",
    "no_mail_scope": "a token for everything but mail, as the person unticked it",
    "no_email": "neither ID token nor userinfo tell an address",
    "unverified_email": "the address is told, with email_verified false",
    "forged_id_token": "an ID token signed by a key that is not the provider's",
    "other_audience": "an ID token made for another client",
    "other_nonce": "an ID token with a nonce that nobody sent",
    "invalid_grant": "400 invalid_grant: the refresh token or the code is dead",
    "invalid_client": "401 invalid_client: the secret is wrong",
    "consent_required": "400 interaction_required: the person must consent anew",
    "unauthorized_client": "400 unauthorized_client",
    "throttled": "429 with Retry-After: 2",
    "server_error": "500 with a page",
    "unready": "503 temporarily_unavailable",
    "garbage": "200 with bytes that are no JSON",
    "no_token": "200 with JSON that holds no token",
    "huge": "200 with a body of 8 MiB",
    "hang": "no answer, until the client gives up",
    "redirect": "302 to a path of its own",
    "userinfo_error": "500 from userinfo",
    "revoke_error": "500 from revocation",
}
"""Every name with what happens; at the consent page, the token endpoint, or as it says.

What an ID token lacks userinfo may still tell: arm `no_email` with `times=None` to spoil both.
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
    """A fault that waits for its moment; `times` None means for ever, `email` None means for everybody."""

    name: str
    times: int | None
    email: str | None


class Faults:
    """What goes wrong from now on."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []
        self.struck: list[str] = []

    def arm(self, name: str, *, times: int | None = 1, email: str | None = None) -> None:
        """Have `name` happen so many times. Raises UnknownFault."""
        if name not in FAULTS:
            raise UnknownFault(f"{name!r} is none of {', '.join(sorted(FAULTS))}")
        self._armed.append(ArmedFault(name, times, email))

    def clear(self) -> None:
        """All is well again."""
        self._armed.clear()

    def strike(self, among: frozenset[str], *, email: str | None = None) -> str | None:
        """The first armed fault among these, used up by one; None if all goes well."""
        for armed in self._armed:
            if armed.name in among and armed.email in (None, email):
                if armed.times is not None:
                    armed.times -= 1
                    if armed.times <= 0:
                        self._armed.remove(armed)
                self.struck.append(armed.name)
                return armed.name
        return None
