"""Address headers: any text is read, what was written is read back, and nothing is invented."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.envelope import Address
from superimap.mail import addresses
from superimap.mail.addresses import GROUP_END, parse_addresses

atoms = st.text("abcXYZ019.+-_\u00e9\u4e0b'", min_size=1, max_size=8).filter(
    lambda atom: not set(atom) <= {"."}
)
names = st.one_of(
    st.none(),
    st.lists(atoms, min_size=1, max_size=3).map(" ".join),
    st.text('ab ,.;:<>()@[]"\\', min_size=1, max_size=12).map(str.strip).filter(bool),
    st.just("=?utf-8?q?Ann=2C_Bee?="),
)
hosts = st.lists(atoms, min_size=1, max_size=3).map(".".join)
mailboxes = st.one_of(atoms, st.text('ab @,;:<>(")', min_size=1, max_size=8).map(str.strip).filter(bool))
written = st.builds(
    lambda name, mailbox, host: Address(name, None, mailbox, host), names, mailboxes, hosts
).filter(
    lambda each: not (each.mailbox[0] == each.host[-1] == "'")
)  # single quotes around it are no part of it

pieces = st.sampled_from([
    '"', "\\", "<", ">", "(", ")", ",", ":", ";", "@", ".", "[", "]", " ", "\t", "=?utf-8?q?", "=?a?b?c?=", "?=",
    "a", "bc", "x.org", "ann@x.org", "Ann <ann@x.org>", "g:", "<@r:", "\ufffd", "\u00e9",
])  # fmt: skip
anything = st.one_of(st.text(max_size=60), st.lists(pieces, max_size=20).map("".join))


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write(address: Address) -> str:
    mailbox = address.mailbox or ""
    local = quote(mailbox) if set(mailbox) & set(' @,;:<>()"') else mailbox
    spec = f"{local}@{address.host}"
    if address.name is None:
        return spec
    special = set(address.name) & set(',.;:<>()@[]"\\') or "  " in address.name
    plain = address.name.startswith("=?") or not special
    return f"{address.name if plain else quote(address.name)} <{spec}>"


@given(st.lists(written, max_size=6), st.sampled_from([", ", ",", " ,\t", "; "]))
def test_a_list_of_addresses_is_read_as_it_was_written(given_addresses, separator):
    value = separator.join(map(write, given_addresses))

    assert list(parse_addresses(value)) == given_addresses


@given(atoms, st.lists(written, max_size=4), written)
def test_a_group_has_its_members_between_two_markers(name, members, other):
    value = f"{name}: {', '.join(map(write, members))}; , {write(other)}"

    assert list(parse_addresses(value)) == [Address(None, None, name, None), *members, GROUP_END, other]


@given(anything)
def test_any_text_is_read_and_nothing_is_invented(value):
    """No value has a character, and no address a host, that the header does not have."""
    found = parse_addresses(value)
    values = [(each.name, each.route, each.mailbox, each.host) for each in found]
    parts = [part for each in values for part in each if part is not None]

    assert not Counter("".join("".join(parts).split())) - Counter(value)
    assert sum(each.host is not None for each in found) <= value.count("@")
    assert all(part == part.strip() != "" for part in parts)
    assert found.count(GROUP_END) <= value.count(":")


@given(anything)
def test_the_usual_form_is_read_alike_with_and_without_the_shortcut(value):
    found = addresses._ordinary(value)

    if found is not None:
        assert found == addresses._List(addresses.cut(value)).addresses


usual = st.sampled_from(["Ann Bee <ann@x.org>", "bob@y.org", '"B, C" <c@z>', "<d@e>", "E. <e@f>"])


@given(st.lists(usual, max_size=5))
def test_the_shortcut_takes_the_usual_form(entries):
    assert addresses._ordinary(", ".join(entries)) is not None
