"""Replacement times of access tokens: before they expire, and spread over time."""

import math

# Gmail and Microsoft end a session when its token expires (developers.google.com/gmail/imap, "Session length
# limits"; Exchange says AccessTokenExpired), so a session returns with a new token before that.
# All of these are fractions of a token's lifetime.
REPLACE_FROM_FRACTION = 0.75
REPLACE_UNTIL_FRACTION = 0.92
# A token that many sessions share is replaced from half its lifetime on, which spreads their reconnects.
REPLACE_SHARED_FROM_FRACTION = 0.5
# Pause before another request for a new token, at least a second.
RETRY_FRACTION = 0.02


def replace_from(*, is_shared: bool) -> float:
    """Return the fraction of its lifetime after which a token is no longer given to a session."""
    return REPLACE_SHARED_FROM_FRACTION if is_shared else REPLACE_FROM_FRACTION


def is_aged(lifetime: float, left: float, *, is_shared: bool) -> bool:
    """Whether a token with `left` of its `lifetime` seconds should be replaced."""
    return left <= lifetime * (1.0 - replace_from(is_shared=is_shared))


def roll_over_delay(lifetime: float, left: float, chance: float, *, is_new: bool, is_shared: bool) -> float:
    """Return the seconds from now until a session should return with another token.

    The moment is random in the window between the two fractions, or in what is left of the window. Sessions whose
    tokens were all just issued (`is_new`) began together, after an outage or a first start: each then behaves as
    if it had begun at a random point of a lifetime, so that they never return together. `chance` is uniform in
    [0, 1).
    """
    age = lifetime - left
    first = max(replace_from(is_shared=is_shared) * lifetime, age)
    last = max(REPLACE_UNTIL_FRACTION * lifetime, first)
    if is_new and not is_shared:
        return _residual_lifetime(lifetime, chance)
    return first + chance * (last - first) - age


def token_retry_delay(lifetime: float, chance: float) -> float:
    """Return the seconds until the next request after a new token could not be had."""
    return max(1.0, RETRY_FRACTION * lifetime) * (0.5 + chance)


def _residual_lifetime(lifetime: float, chance: float) -> float:
    """Return the rest of a lifetime seen at a random moment: the stationary state of a renewal process.

    The density falls with the share of lifetimes that last so long: level up to REPLACE_FROM_FRACTION, then
    falling to REPLACE_UNTIL_FRACTION.
    """
    level, slope = REPLACE_FROM_FRACTION, REPLACE_UNTIL_FRACTION - REPLACE_FROM_FRACTION
    area = chance * (level + slope / 2)
    if area <= level:
        return area * lifetime
    # Within the slope: x - x^2 / (2 slope) = area - level, solved for x.
    return (level + slope * (1.0 - math.sqrt(1.0 - 2.0 * (area - level) / slope))) * lifetime
