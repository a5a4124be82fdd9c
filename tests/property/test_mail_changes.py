"""Comparison of the known and the shown state of mails, for any state: complete, once, and in any order."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.mail_changes import (
    MAX_FLAG_CHARACTERS,
    MAX_FLAGS,
    TrackedMail,
    clean_flags,
    compare,
    limited,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
flags = st.lists(st.sampled_from(["\\Seen", "\\seen", "\\Flagged", "$a", "$A", "b"]), max_size=4).map(
    clean_flags
)
absences = st.none() | st.integers(0, 120).map(lambda ago: NOW - timedelta(seconds=ago))


@st.composite
def mails(draw):
    uids = draw(st.lists(st.integers(1, 30), unique=True, max_size=12))
    found = []
    for uid in uids:
        known = draw(st.none() | flags)
        is_stored = known is not None and draw(st.booleans())
        absent = draw(absences) if is_stored else None
        found.append(TrackedMail(uid * 10, uid * 10, None, uid, known, absent, is_stored))
    return found


shown = st.dictionaries(st.integers(1, 30), st.none() | flags)


def names(some):
    return {each.lower() for each in some or ()}


def applied(tracked, changes):
    """The known state after the changes, without mails that are gone."""
    by_uid = {each.mail.uid: each for each in changes}
    after = []
    for mail in tracked:
        if (change := by_uid.get(mail.uid)) is None:
            after.append(mail)
        elif not change.is_gone:
            after.append(
                TrackedMail(
                    mail.message, mail.original, None, mail.uid, change.flags, change.absent_since, True
                )
            )
    return after


@given(mails(), shown)
def test_the_changes_lead_from_the_known_to_the_shown_state(tracked, now_shown):
    after = {
        each.uid: each for each in applied(tracked, compare(tracked, now_shown, now=NOW, wait=timedelta()))
    }

    for mail in tracked:
        if mail.uid not in now_shown:
            assert after[mail.uid] == mail
        elif now_shown[mail.uid] is None:
            assert mail.uid not in after
        else:
            assert names(after[mail.uid].flags) == names(now_shown[mail.uid])
            assert after[mail.uid].absent_since is None


@given(mails(), shown, st.sampled_from([timedelta(), MINUTE]))
def test_nothing_is_reported_twice(tracked, now_shown, wait):
    first = compare(tracked, now_shown, now=NOW, wait=wait)

    assert compare(applied(tracked, first), now_shown, now=NOW, wait=wait) == []


@given(mails(), shown, st.sampled_from([timedelta(), MINUTE]), st.randoms())
def test_the_order_of_mails_does_not_matter(tracked, now_shown, wait, random):
    mixed = random.sample(tracked, len(tracked))

    assert compare(mixed, now_shown, now=NOW, wait=wait) == compare(tracked, now_shown, now=NOW, wait=wait)


@given(mails(), shown)
def test_an_event_says_what_has_changed_and_a_first_look_says_nothing(tracked, now_shown):
    for change in compare(tracked, now_shown, now=NOW, wait=MINUTE, moved=[10, 20]):
        before, after = names(change.mail.flags), names(change.flags)
        if change.mail.flags is None:
            assert not change.is_event
        elif change.is_gone:
            since = change.mail.absent_since or NOW
            assert NOW - since >= MINUTE or change.mail.message in (10, 20)
        else:
            assert change.is_event == (before != after)
            assert (names(change.added), names(change.removed)) == (after - before, before - after)


@given(mails(), shown, st.integers(0, 5))
def test_limited_changes_lead_to_the_same_state_look_by_look(tracked, now_shown, most):
    reported = []
    for _ in range(len(tracked) // max(most, 1) + 1):
        kept = limited(compare(tracked, now_shown, now=NOW, wait=timedelta()), most + 1)
        reported += [each.mail.uid for each in kept if each.is_event]
        tracked = applied(tracked, kept)

    assert compare(tracked, now_shown, now=NOW, wait=timedelta()) == []
    assert len(reported) == len(set(reported))


@given(st.lists(st.text(max_size=3 * MAX_FLAG_CHARACTERS), max_size=2 * MAX_FLAGS))
def test_flags_are_bounded_and_survive_being_stored(shown_flags):
    cleaned = clean_flags(["\\Recent", *shown_flags])

    assert len(cleaned) <= MAX_FLAGS
    assert all(0 < len(each) <= MAX_FLAG_CHARACTERS for each in cleaned)
    assert "\\recent" not in names(cleaned)
    assert tuple(" ".join(cleaned).split()) == cleaned
    assert clean_flags(reversed(cleaned)) == cleaned
