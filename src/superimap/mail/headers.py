"""Which headers does a raw mail have? (RFC 5322 section 2.2)

The values are given as they were sent, only unfolded: a general parser decodes them, or stops at the first
oddity, and reads the body too, which nobody here needs.
"""

MAX_HEADER_BYTES = 256 * 1024  # bytes at the start of a mail in which its headers are looked for


def read(raw: bytes, names: frozenset[bytes]) -> dict[str, list[bytes]]:
    """The unfolded, stripped values of the headers of these lower-case `names`. Never raises."""
    found: dict[str, list[list[bytes]]] = {}
    parts: list[bytes] = []  # of the value that is being read; of none, if nobody wants it
    for line in section(raw).split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            parts.append(line.removesuffix(b"\r"))
            continue
        name, colon, value = line.partition(b":")
        parts = []
        if colon and (wanted := name.rstrip(b" \t").lower()) in names:
            parts = [value.removesuffix(b"\r")]
            found.setdefault(wanted.decode("ascii"), []).append(parts)
    return {name: [b"".join(value).strip() for value in values] for name, values in found.items()}


def section(raw: bytes) -> bytes:
    """All before the empty line that ends the headers, up to LONGEST bytes."""
    if raw.startswith((b"\n", b"\r\n")):
        return b""
    end = raw.find(b"\n\r\n", 0, MAX_HEADER_BYTES)
    sooner = raw.find(
        b"\n\n", 0, MAX_HEADER_BYTES if end < 0 else end + 1
    )  # never looked for in the body for nothing
    end = end if sooner < 0 else sooner
    return raw[: MAX_HEADER_BYTES if end < 0 else end]
