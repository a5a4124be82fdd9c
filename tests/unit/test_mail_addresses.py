"""Addresses of a header: what RFC 5322 permits, and what real mails contain instead. Nothing is invented."""

import email.utils
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.envelope import Address
from superimap.mail.addresses import GROUP_END, MAX_LISTED_ADDRESSES, parse_addresses


def at(name: str | None, mailbox: str | None, host: str | None, route: str | None = None) -> Address:
    return Address(name, route, mailbox, host)


def group(name: str, *members: Address) -> list[Address]:
    return [at(None, name, None), *members, GROUP_END]


ANN, BOB = at("Ann Bee", "ann", "x.org"), at(None, "bob", "y.org")

TABLE: list[tuple[str, list[Address]]] = [
    # As RFC 5322 has it.
    ("Ann Bee <ann@x.org>", [ANN]),
    ("bob@y.org", [BOB]),
    ("<bob@y.org>", [BOB]),
    ("Ann Bee <ann@x.org>, bob@y.org", [ANN, BOB]),
    ('"Bee, Ann" <ann@x.org>', [at("Bee, Ann", "ann", "x.org")]),
    ('"Ann \\"A\\" \\\\ Bee" <ann@x.org>', [at('Ann "A" \\ Bee', "ann", "x.org")]),
    ('"" <ann@x.org>', [at(None, "ann", "x.org")]),
    ('"Ann  Bee"<ann@x.org>', [at("Ann  Bee", "ann", "x.org")]),
    ("Ann\tBee  <ann@x.org> ", [ANN]),
    ("ann@x.org (Ann Bee)", [ANN]),
    ("(Ann Bee) ann@x.org", [ANN]),
    ("<ann@x.org> (Ann Bee)", [ANN]),
    ("Ann (at (home)) Bee <ann@x.org>", [ANN]),
    ("ann@x.org (Ann (the \\) first) Bee)", [at("Ann (the ) first) Bee", "ann", "x.org")]),
    ("ann(a)@(b)x.org", [at("a b", "ann", "x.org")]),
    ('"ann bee"@x.org', [at(None, "ann bee", "x.org")]),
    ('<"ann@bee"@x.org>', [at(None, "ann@bee", "x.org")]),
    ("ann@[127.0.0.1]", [at(None, "ann", "[127.0.0.1]")]),
    ("Ann Bee <ann@[IPv6:::1]>", [at("Ann Bee", "ann", "[IPv6:::1]")]),
    ("ann+tag=a/b@x.org", [at(None, "ann+tag=a/b", "x.org")]),
    ("friends: Ann Bee <ann@x.org>, bob@y.org;", group("friends", ANN, BOB)),
    ("friends:ann@x.org;, bob@y.org", [*group("friends", at(None, "ann", "x.org")), BOB]),
    ("undisclosed-recipients:;", group("undisclosed-recipients")),
    ("Undisclosed recipients:;", group("Undisclosed recipients")),
    ('"undisclosed-recipients (list, all)":;', group("undisclosed-recipients (list, all)")),
    ("a:;, b: ;", [*group("a"), *group("b")]),
    # Obsolete syntax (section 4.4).
    ("Ann Bee <@r.org,@s.org:ann@x.org>", [at("Ann Bee", "ann", "x.org", "@r.org,@s.org")]),
    ("<@r.org:ann@[IPv6:::1]>, bob@y.org", [at(None, "ann", "[IPv6:::1]", "@r.org"), BOB]),
    ("<@r.org:ann@x.org> , bob@y.org", [at(None, "ann", "x.org", "@r.org"), BOB]),
    ('<"@"@x.org>, bob@y.org', [at(None, "@", "x.org"), BOB]),
    ("ann . bee @ x . org", [at(None, "ann.bee", "x.org")]),
    ("Ann Bee < ann @ x.org >", [ANN]),
    ("Ann B. Bee <ann@x.org>", [at("Ann B. Bee", "ann", "x.org")]),
    (",, Ann Bee <ann@x.org>, ,bob@y.org,", [ANN, BOB]),
    # Encoded words (RFC 2047) and raw UTF-8 (RFC 6532): not decoded, and no syntax within.
    ("=?utf-8?q?Ann_Bee?= <ann@x.org>", [at("=?utf-8?q?Ann_Bee?=", "ann", "x.org")]),
    ("=?a?q?Bee=2C?= =?b?b?QW5u?= <ann@x.org>", [at("=?a?q?Bee=2C?= =?b?b?QW5u?=", "ann", "x.org")]),
    ("=?utf-8?Q?Bee,_Ann?= <ann@x.org>", [at("=?utf-8?Q?Bee,_Ann?=", "ann", "x.org")]),
    ("=?utf-8?Q?Bee, Ann @ x:y?= <ann@x.org>", [at("=?utf-8?Q?Bee, Ann @ x:y?=", "ann", "x.org")]),
    ('"=?utf-8?q?Ann?=" <ann@x.org>', [at("=?utf-8?q?Ann?=", "ann", "x.org")]),
    ("=?utf-8?q?Ann?=<ann@x.org>", [at("=?utf-8?q?Ann?=", "ann", "x.org")]),
    ("=?utf-8?q?Ann?=", [at("=?utf-8?q?Ann?=", None, None)]),
    ("=?utf-8?q?ann=40x.org?=", [at("=?utf-8?q?ann=40x.org?=", None, None)]),
    ("ann@x.org (=?utf-8?q?Ann?=)", [at("=?utf-8?q?Ann?=", "ann", "x.org")]),
    ("Änn Bée <änn@bücher.example>", [at("Änn Bée", "änn", "bücher.example")]),
    ("Ann \ufffd\ufffd <ann@x.org>", [at("Ann \ufffd\ufffd", "ann", "x.org")]),
    # Without `@`: nothing is taken for an address that is none.
    ("root (Cron Daemon)", [at("Cron Daemon", "root", None)]),
    ("MAILER-DAEMON (Mail Delivery System)", [at("Mail Delivery System", "MAILER-DAEMON", None)]),
    ("Mail Delivery Subsystem <MAILER-DAEMON>", [at("Mail Delivery Subsystem", "MAILER-DAEMON", None)]),
    ("root", [at(None, "root", None)]),
    ("<root>", [at(None, "root", None)]),
    ("root, ann", [at(None, "root", None), at(None, "ann", None)]),
    ("Some Body", [at("Some Body", None, None)]),
    ('"Some Body"', [at("Some Body", None, None)]),
    ('"ann@x.org"', [at("ann@x.org", None, None)]),
    ("Some Body <>", [at("Some Body", None, None)]),
    ("Some Body <ann at x.org>", [at("Some Body", "ann at x.org", None)]),
    ("@x.org", [at(None, None, "x.org")]),
    ("ann@", [at(None, "ann", None)]),
    ("<>", []),
    ("<@>", []),
    ("@", []),
    ("()", []),
    (":;", []),
    (";", []),
    ("", []),
    ("  ,\t", []),
    # Broken syntax.
    ("Bee, Ann <ann@x.org>", [at("Bee, Ann", "ann", "x.org")]),
    ("Ann Bee, Ph.D., M.D. <ann@x.org>, bob@y.org", [at("Ann Bee, Ph.D., M.D.", "ann", "x.org"), BOB]),
    ("Bee, Ann <a@x>; Roe, Bob <b@y>", [at("Bee, Ann", "a", "x"), at("Roe, Bob", "b", "y")]),
    ("Bee, Ann, bob@y.org", [at(None, "Bee", None), at(None, "Ann", None), BOB]),
    ("root, <bob@y.org>", [at(None, "root", None), BOB]),
    ("bob@y.org, Ann Bee <ann@x.org>", [BOB, ANN]),
    ("ann@x.org; bob@y.org", [at(None, "ann", "x.org"), BOB]),
    ("Ann Bee <ann@x.org>;", [ANN]),
    ("Ann Bee <ann@x.org>,bob@y.org", [ANN, BOB]),
    ("Ann Bee ann@x.org", [ANN]),
    ("ann@x.org Ann Bee", [ANN]),
    ("Ann Bee <ann@x.org", [ANN]),
    ("Ann Bee ann@x.org>", [ANN]),
    ("<Ann Bee <ann@x.org, Bob <bob@y.org>", [ANN, at("Bob", "bob", "y.org")]),
    ("Ann Bee <<ann@x.org>>", [ANN]),
    ("<Ann Bee> <ann@x.org>", [ANN]),
    ("ann@x.org <ann@x.org>", [at("ann@x.org", "ann", "x.org")]),
    ("ann@x.org <bob@y.org>", [at("ann@x.org", "bob", "y.org")]),
    ('"Ann Bee <ann@x.org>', [at('"Ann Bee', "ann", "x.org")]),
    ('Ann "Bee <ann@x.org>, bob@y.org', [at('Ann "Bee', "ann", "x.org"), BOB]),
    ("Ann (Bee <ann@x.org>, bob@y.org", [at("Ann (Bee", "ann", "x.org"), BOB]),
    ("Ann Bee) <ann@x.org>", [at("Ann Bee)", "ann", "x.org")]),
    ('"Ann "A" Bee" <ann@x.org>', [at("Ann A Bee", "ann", "x.org")]),
    ("'Ann Bee' <ann@x.org>", [at("'Ann Bee'", "ann", "x.org")]),
    ("'ann@x.org'", [at(None, "ann", "x.org")]),
    ("Ann Bee <'ann@x.org'>, 'bob@y.org'", [ANN, BOB]),
    ("'ann@x.org", [at(None, "'ann", "x.org")]),
    ("[List, a] Ann Bee <ann@x.org>", [at("[List, a] Ann Bee", "ann", "x.org")]),
    ("Ann [Bee <ann@x.org>", [at("Ann [Bee", "ann", "x.org")]),
    ("IT: Ann Bee <ann@x.org>", [at("IT: Ann Bee", "ann", "x.org")]),
    ("mailto:bob@y.org", [BOB]),
    ("<mailto:bob@y.org>, Ann Bee <MAILTO:ann@x.org?subject=s>", [BOB, ANN]),
    ("mailto:ann@x.org;mailto:bob@y.org", [at(None, "ann", "x.org"), BOB]),
    ("Ann Bee [mailto:ann@x.org]", [ANN]),
    ("Ann Bee[SMTP:ann@x.org], [bob@y.org]", [ANN, BOB]),
    ("Ann [ann@a] <ann@x.org>", [at("Ann [ann@a]", "ann", "x.org")]),
    ("ann@x.org<mailto:ann@x.org>", [at("ann@x.org", "ann", "x.org")]),
    ("Ann Bee <ann@x.org<mailto:ann@x.org>>", [ANN]),
    ("undisclosed-recipients:", group("undisclosed-recipients")),
    ("Undisclosed recipients: ", group("Undisclosed recipients")),
    # Separators that are missing.
    ("Ann Bee <ann@x.org>Bob <bob@y.org>", [ANN, at("Bob", "bob", "y.org")]),
    ("Ann Bee <ann@x.org> <bob@y.org>", [ANN, BOB]),
    ("<bob@y.org> <ann@x.org> (Ann Bee)", [BOB, ANN]),
    ("<ann@x.org> (Ann Bee) bob@y.org", [ANN, BOB]),
    ("<ann@x.org> (Ann Bee) <bob@y.org>", [ANN, BOB]),
    ("Ann Bee ann@x.org bob@y.org", [ANN, BOB]),
    ("ann@x.org (Ann Bee) bob@y.org", [ANN, BOB]),
    ("bob@y.org\tann@x.org (Ann Bee)", [BOB, ANN]),
    ("Ann Bee <ann@x.org bob@y.org>", [ANN, BOB]),
    ("<ann@x.org, bob@y.org>", [at(None, "ann", "x.org"), BOB]),
    ("<ann@x.org; bob@y.org>", [at(None, "ann", "x.org"), BOB]),
    ("Ann Bee <ann@x.org> <ann@x.org>", [ANN]),
    ("<ann@x.org> Ann Bee <ann@x.org>", [ANN]),
    ("Ann Bee <ann@x.org> ann@z", [ANN, at(None, "ann", "z")]),
    # Reported in trackers.
    ('"Ann Bee"  </O=X/OU=EXCHANGE ADMINISTRATIVE GROUP  (FYDIBOHF23SPDLT)/CN=RECIPIENTS/CN=A1>',
     [at("Ann Bee", "/O=X/OU=EXCHANGE ADMINISTRATIVE GROUP  (FYDIBOHF23SPDLT)/CN=RECIPIENTS/CN=A1", None)]),
    ("Ann Bee [ann@x.org] ann@x.org", [ANN]),
    ("Ann Bee <ann@x.org, Bob Roe <bob@y.org, c@z", [ANN, at("Bob Roe", "bob", "y.org"), at(None, "c", "z")]),
    ('"Ann Bee" <ann@x.org:>, Bob <,bob@y.org>', [ANN, at("Bob", "bob", "y.org")]),
    ('"Bee, Ann" <a@x>, Roe, Bob <b@y>, "C, D" <c@z>',
     [at("Bee, Ann", "a", "x"), at("Roe, Bob", "b", "y"), at("C, D", "c", "z")]),
    ("<Ann Bee <ann@x.org>>", [ANN]),
    ('ann@x.org, "Reply-To:bob"@y.org', [at(None, "ann", "x.org"), at(None, "Reply-To:bob", "y.org")]),
    # Nothing is joined to an address that is no part of it.
    ("Ann <ann@x.org Bee>", [ANN]),
    ('"Ann Bee"ann@x.org', [ANN]),
    ('<"Ann Bee" ann@x.org>', [ANN]),
    ("=?a?q?Ann?=ann@x.org", [at("=?a?q?Ann?=", "ann", "x.org")]),
    ('"ann@x.org', [at(None, "ann", "x.org")]),
    ("(ann@x.org", [at(None, "ann", "x.org")]),
    ("ann@x.org: bob@y.org", [at(None, "ann", "x.org"), BOB]),
    ("Ann(at home)Bee <ann@x.org>", [ANN]),
    ("Bob . mailto:ann@x.org", [at("Bob .", "ann", "x.org")]),
    ("<ann@x .org>", [at(".org", "ann", "x")]),
    # A name behind its address, or beside empty brackets.
    ("ann@x.org <Ann Bee>", [ANN]),
    ("ann@x.org <>", [at(None, "ann", "x.org")]),
    ("Ann Bee ann@x.org <>", [ANN]),
    # Users without a host before a name: not parts of the name.
    ("root, Ann Bee <ann@x.org>", [at(None, "root", None), ANN]),
    ("Postmaster, root, Bee, Ann <ann@x.org>",
     [at(None, "Postmaster", None), at(None, "root", None), at("Bee, Ann", "ann", "x.org")]),
    ("bee, ann <ann.bee@x.org>", [at("bee, ann", "ann.bee", "x.org")]),
    ("Ann Bee, phd, md <ann@x.org>", [at("Ann Bee, phd, md", "ann", "x.org")]),
    # Groups without an end.
    ("friends: ann@x.org, bob@y.org", group("friends", at(None, "ann", "x.org"), BOB)),
    ("friends:bob@y.org", group("friends", BOB)),
    ("bob@y.org, all: ann@x.org", [BOB, *group("all", at(None, "ann", "x.org"))]),
    ("To: bob@y.org", group("To", BOB)),
    ("Re: the plan <bob@y.org>", [at("Re: the plan", "bob", "y.org")]),
    # Names in a directory instead of addresses.
    ("/O=ORG/OU=ADMIN GROUP (FY23)/CN=ANN", [at(None, "/O=ORG/OU=ADMIN GROUP (FY23)/CN=ANN", None)]),
    ("Ann Bee </o=Org/ou=Some (FY23)/cn=ann>", [at("Ann Bee", "/o=Org/ou=Some (FY23)/cn=ann", None)]),
    ("Ann Bee <EX:/O=ORG/CN=ANN>, bob@y.org", [at("Ann Bee", "EX:/O=ORG/CN=ANN", None), BOB]),
    ("<C=DE;A= ;P=X;S=Bee;G=Ann;>, bob@y.org", [at(None, "C=DE;A= ;P=X;S=Bee;G=Ann;", None), BOB]),
    ("</C=DE/A=X/S=Bee/@gate.example>", [at(None, "/C=DE/A=X/S=Bee/", "gate.example")]),
    ("IMCEAEX-_O=ORG_CN=ANN@x.org", [at(None, "IMCEAEX-_O=ORG_CN=ANN", "x.org")]),
    ("<bounce-ann=x.org@y.org>", [at(None, "bounce-ann=x.org", "y.org")]),
    ("ann%x.org@y.org, z!ann", [at(None, "ann%x.org", "y.org"), at(None, "z!ann", None)]),
    # White space of other scripts belongs to a name.
    ("\u5c71\u7530\u3000\u592a\u90ce <ann@x.org>", [at("\u5c71\u7530\u3000\u592a\u90ce", "ann", "x.org")]),
    ("Ann\xa0Bee <ann@x.org>\xa0", [at("Ann\xa0Bee", "ann", "x.org")]),
    ("a: b: c@x.org;;", [at(None, "a", None), at("b:", "c", "x.org"), GROUP_END]),
    ("ann@bee@x.org", [at(None, "ann@bee", "x.org")]),
    ("ann bee@x.org", [at("ann", "bee", "x.org")]),
    ("<ann bee@x.org>", [at(None, "ann bee", "x.org")]),
    ("Ann Bee\\, Esq <ann@x.org>", [at("Ann Bee\\, Esq", "ann", "x.org")]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=[value for value, _ in TABLE])
def test_addresses_are_read_from_what_mails_contain(value, expected):
    assert list(parse_addresses(value)) == expected


def test_an_entry_that_the_limit_cuts_is_left_out():
    many = "ann@x.org, " * 10_000

    assert set(parse_addresses(many[:-2] + "and.more.example")) == {at(None, "ann", "x.org")}
    assert set(parse_addresses("(c) " + many)) == {at(None, "ann", "x.org"), at("c", "ann", "x.org")}
    assert parse_addresses("ann@" + "x" * 100_000) == ()


@pytest.mark.parametrize("entry", ["a@b.example,", "a, ", "g:a@b;", '"a" <a@b>;', "(a)a@b,"])
def test_a_limited_number_of_addresses_is_listed(entry):
    assert len(parse_addresses(entry * 5000)) == MAX_LISTED_ADDRESSES


@pytest.mark.parametrize(
    "piece",
    ['"', '"\\', '\\"', "(", ")", "(\\", "<", ">", "<@a,", "<@a:", "@", "a@", "a ", "a ,", ",", ":", ";", "a:",
     "a:;", "[", "[a", "=?", "=?a?q?", "=?a?q?b", "a.", " . ", " @ ", "@ .", '"a', '"a" ', "a <b@c> ", "a (b) ",
     "\ufffd", " ", "Ann Bee ", '"a"@', "<a@b", "(a)", "a, b <c@d>,", "<a@b>", "a@b ",
     "[a@b]", "mailto:", "mailto:a@b", "<a=", "/o=", "<@", "'", "a: b@c,", "root,", "<<", "><", "a@b:", ": "],
)  # fmt: skip
def test_hostile_headers_take_linear_time(piece):
    """A quadratic step would take minutes."""
    began = time.process_time()

    parse_addresses(piece * (65_000 // len(piece)))

    assert time.process_time() - began < 2


PIECES = [
    "ann@x.org", "b@y", "<b@y>", "<", ">", "Ann", "Bee", '"Q q"', "(c)", ")", " ", " ", ",", ";", ":", "@", ".",
    "[", "[d@z]", "'", "mailto:", "=?a?q?b,?=", "root", "\\", "\t", "@r,@s:", "é", "\u3000", "\ufffd",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_every_address_stands_in_the_header(value):
    """Its mailbox, `@` and host follow one another, but for quotes, and blanks around dots."""
    text = flat(value.replace("(c)", " ").replace(">", " ").replace('"', ""))

    for address in parse_addresses(value):
        if address.host:
            assert flat(f"{address.mailbox or ''}@{address.host}") in text


def flat(text: str) -> str:
    return re.sub(r"\s*([.@])\s*", r"\1", " ".join(text.replace("'", "").split()))


USUAL = ["Ann", "Bee", '"Q, q"', "<a@b>", "c@d", " ", " ", ", ", ",\t", "\t", "=?a?q?b?=", "'", "root", "(c)"]


@given(st.lists(st.sampled_from(USUAL), max_size=10).map("".join))
def test_usual_headers_are_read_like_all_others(value):
    """A regular expression reads most of them. The empty group keeps it from doing so."""
    assert parse_addresses(f"{value},:;") == parse_addresses(value)


SEPARATORS = st.sampled_from([", ", ",", ";", " ; ", " ", "\t", ",,", "  "])


@given(
    st.lists(SEPARATORS, max_size=8),
    st.sampled_from(["<u{}@x>", "Ann B. <u{}@x>", '"B, A" <u{}@x>', "u{}@x", "u{}@x (A)"]),
)
def test_no_address_is_lost_whatever_separates_them(separators, form):
    value = "".join(form.format(n) + each for n, each in enumerate([*separators, ""]))

    assert [each.mailbox for each in parse_addresses(value)] == [f"u{n}" for n in range(len(separators) + 1)]


@given(
    st.text(
        alphabet=st.one_of(
            st.sampled_from("<>,:;()@[]\"\\ .\t=?/'"), st.characters(exclude_categories=["Cs"])
        ),
        max_size=60,
    )
)
def test_any_text_is_parsed(value):
    json.dumps([(each.name, each.route, each.mailbox, each.host) for each in parse_addresses(value)])


@pytest.mark.parametrize(
    "value",
    ["Ann Bee <ann@x.org>", '"Bee, Ann" <ann@x.org>, bob@y.org', "<ann@x.org>", "ann@x.org (Ann)",
     '"A \\"B\\" C" <a@x>, "D" <d@y>', "=?utf-8?q?Ann_Bee?= <ann@x.org>", "Ann <ann.bee+tag@mail.x.org>"],
)  # fmt: skip
def test_valid_headers_are_read_like_the_standard_library_reads_them(value):
    found = [(each.name or "", f"{each.mailbox}@{each.host}") for each in parse_addresses(value)]

    assert found == email.utils.getaddresses([value])
