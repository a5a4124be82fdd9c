"""When in an access token's life is it replaced? Early enough, and never all at once."""

import math

# Gmail and Microsoft end a session as its token expires (developers.google.com/gmail/imap, "Session length
# limits"; Exchange says AccessTokenExpired), so a session comes back with a new one before.
EARLIEST = 0.75
LATEST = 0.92
# A token of many sessions is replaced at half its life: else they would all come back in the same sixth of it.
EARLIEST_SHARED = 0.5
# While no new token can be had the next try comes after this part of a life, and a second at least.
AGAIN = 0.02


def earliest(*, is_shared: bool) -> float:
    """The part of its life after which a token is given to no session any more."""
    return EARLIEST_SHARED if is_shared else EARLIEST


def is_aged(life: float, left: float, *, is_shared: bool) -> bool:
    """Whether a token that was given for `life` seconds, of which some are `left`, is one to replace."""
    return left <= life * (1.0 - earliest(is_shared=is_shared))


def roll_over(life: float, left: float, chance: float, *, is_new: bool, is_shared: bool) -> float:
    """Seconds from now until a session should come back with another token.

    At random in the window between EARLIEST and LATEST, or in what remains of it. Sessions whose tokens were
    all made anew (`is_new`) have begun together, after an outage or a first start: each behaves as if it had
    begun somewhere in a life, so that they never come back together. `chance` is uniform in [0, 1).
    """
    age = life - left
    first = max(earliest(is_shared=is_shared) * life, age)
    last = max(LATEST * life, first)
    if is_new and not is_shared:
        return _residual(life, chance)
    return first + chance * (last - first) - age


def again(life: float, chance: float) -> float:
    """Seconds until the next try where no new token could be had."""
    return max(1.0, AGAIN * life) * (0.5 + chance)


def _residual(life: float, chance: float) -> float:
    """What is left of a life into which one looks at random: the stationary state of a renewal process.

    Its density falls with the share of lives that last so long: level up to EARLIEST, then down to LATEST.
    """
    level, slope = EARLIEST, LATEST - EARLIEST
    area = chance * (level + slope / 2)
    if area <= level:
        return area * life
    # Within the slope: x - x^2 / (2 slope) = area - level, solved for x.
    return (level + slope * (1.0 - math.sqrt(1.0 - 2.0 * (area - level) / slope))) * life
