"""How does a refresh token become an access token? (RFC 6749 section 6)"""

from dataclasses import dataclass, field

import httpx

from superimap.errors import SuperImapError

# Error codes of RFC 6749 section 5.2 that another try will not change.
_LASTING = {
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
}
_MOST_BYTES = 64 * 1024
_DEFAULT_LIFE = 3600


class TokenRefused(SuperImapError):
    """The provider will not give a token for this grant or client; `code` is its RFC 6749 error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"the provider refused a new access token: {self.code}"


class TokenUnavailable(SuperImapError):
    """The provider could not be asked, or did not answer as it should; another try may help."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider gave. `refresh_token` is set if the old one was replaced: store it before use."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(repr=False)


async def refresh(
    http: httpx.AsyncClient,
    token_url: str,
    *,
    client_id: str,
    client_secret: str,
    refresh_token: str,
) -> Grant:
    """Ask the provider once. Raises TokenRefused or TokenUnavailable."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": client_id,
        "client_secret": client_secret,
    }
    try:
        answer = await http.post(token_url, data=form, headers={"Accept": "application/json"})
        fields = answer.json() if len(answer.content) <= _MOST_BYTES else {}
    except httpx.HTTPError as error:
        raise TokenUnavailable(f"the provider's token endpoint failed: {type(error).__name__}") from None
    except ValueError:
        fields = {}
    if not isinstance(fields, dict):
        fields = {}
    if answer.status_code == 200 and isinstance(fields.get("access_token"), str):
        return Grant(
            fields["access_token"], _life(fields.get("expires_in")), _text(fields.get("refresh_token"))
        )
    code = _text(fields.get("error")) or f"HTTP {answer.status_code}"
    if code in _LASTING:
        raise TokenRefused(code)
    raise TokenUnavailable(f"the provider's token endpoint answered {code}"[:200])


def _life(value: object) -> int:
    """Seconds; some providers write the number as a string, some leave it out."""
    try:
        return max(60, min(int(str(value)), 86_400))
    except ValueError:
        return _DEFAULT_LIFE


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
