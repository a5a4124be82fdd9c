"""Equality of mail accounts: addresses that are written differently and open the same mailbox. Pure.

Addresses count as equal only where the provider documents it for every account. Where in doubt they differ: a
wrong account is worse than a question to the person.
"""

import unicodedata
from collections.abc import Iterable

import idna

# support.google.com/mail/answer/7436150 "Dots don't matter in Gmail addresses", and answer/10313.
# Google Workspace has other domains, where dots count. No Gmail user name contains a plus.
_GMAIL_DOMAINS = frozenset({"gmail.com", "googlemail.com"})
# yandex.com/support/id, "Mail addresses": each login has all of these domains, and dot and hyphen are equal.
_YANDEX_DOMAINS = frozenset({
    "yandex.ru", "yandex.com", "yandex.by", "yandex.kz", "yandex.ua", "ya.ru",
})  # fmt: skip


def is_same_account(one: str, other: str) -> bool:
    """Whether two addresses name the same mail account, by their form alone."""
    return canonical_address(one) == canonical_address(other)


def is_one_of(address: str, names: Iterable[str]) -> bool:
    """Whether an address names the account that has these names."""
    wanted = canonical_address(address)
    return any(canonical_address(name) == wanted for name in names)


def canonical_address(address: str) -> str:
    """Return one form for all addresses of an account.

    Lower case, the domain in ASCII, at Gmail without dots and tags. A text without a domain: in lower case.
    """
    text = unicodedata.normalize("NFC", address.strip())
    local, at, domain = text.rpartition("@")
    if not at:
        return text.casefold()
    local, domain = local.casefold(), _ascii_domain(domain)
    if domain in _GMAIL_DOMAINS:
        return f"{local.partition('+')[0].replace('.', '')}@gmail.com"
    if domain in _YANDEX_DOMAINS:
        return f"{local.partition('+')[0].replace('.', '-')}@yandex.ru"
    return f"{local}@{domain}"


def ascii_name(host: str) -> str:
    """Return a host name in lower-case ASCII. Raises UnicodeError if it has no such form.

    By IDNA 2008 (RFC 5891): Python's own codec, of 2003, turns `faß.de` into `fass.de`, the host of somebody else.
    """
    name = host.rstrip(".").lower()
    return name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")


def _ascii_domain(domain: str) -> str:
    try:
        return ascii_name(domain)
    except UnicodeError:
        return domain.casefold()
