"""URLs that two parsers could read differently are rejected, with the name of the field and a remedy."""

from __future__ import annotations

import pytest

from superimap.webhooks.urls import (
    MAX_URL_CHARACTERS,
    UrlError,
    check_origin,
    check_url,
    destination,
    origin_of,
)

GOOD = [
    "https://app.example.com/hook",
    "http://localhost:9292/hook?token=a%20b&x=1",
    "https://127.0.0.1:8443/",
    "https://[2001:db8::1]:8443/hook",
    "https://xn--bcher-kva.example/",
    "https://a_b.example.com",
    "https://app.example.com./",
    "HTTPS://APP.EXAMPLE.COM/HOOK",
    "https://app.example.com/" + "x" * (MAX_URL_CHARACTERS - 24),
]
BAD = [
    ("", "must begin with https://"),
    ("app.example.com", "must begin with https://"),
    ("//app.example.com", "must begin with https://"),
    ("ftp://app.example.com", "must begin with https://"),
    ("javascript:alert(1)", "must begin with https://"),
    ("https://", "has no host"),
    ("https:///path", "has no host"),
    ("https://:443/", "has no host"),
    ("https://app..example.com/", "has no host"),
    ("https://-app.example.com/", "has no host"),
    ("https://app.example.com:/", "has no host"),
    ("https://app.example.com:0/", "has no host"),
    ("https://app.example.com:65536/", "is not a URL"),
    ("https://app.example.com:port/", "is not a URL"),
    ("https://[fe80::1%25eth0]/", "has no host"),
    ("https://[::1/", "is not a URL"),
    ("https://%31%32%37.0.0.1/", "has no host"),
    ("https://2130706433/", "has no host"),
    ("https://127.1/", "has no host"),
    ("https://0x7f.0.0.0x1/", "has no host"),
    ("https://0177.0.0.01/", "has no host"),
    ("https://ann@app.example.com/", "user name or password"),
    ("https://good.example#@evil.example/", "fragment"),
    ("https://app.example.com/#top", "fragment"),
    ("https://app.example.com/#", "fragment"),
    ("https://good.example\\@evil.example/", "contains one of"),
    ("https://app.example.com/a b", "line break or control character"),
    (" https://app.example.com/", "line break or control character"),
    ("https://app.example.com/\r\nX-Injected: 1", "line break or control character"),
    ("https://app.example.com/\x00", "line break or control character"),
    ("https://①②⑦.0.0.1/", "beyond ASCII"),
    ("https://app.example.com/ü", "beyond ASCII"),
    ("https://app.example.com/" + "x" * MAX_URL_CHARACTERS, "longer than"),
]


@pytest.mark.parametrize("url", GOOD)
def test_a_valid_url_is_returned_unchanged(url):
    assert check_url(url, field="success_url") == url


@pytest.mark.parametrize(("url", "reason"), BAD)
def test_an_invalid_url_is_rejected_with_field_and_reason(url, reason):
    with pytest.raises(UrlError, match=f"^success_url .*{reason}") as refusal:
        check_url(url, field="success_url")

    assert len(str(refusal.value).splitlines()) == 1
    assert refusal.value.field == "success_url"


@pytest.mark.parametrize("url", [url for url, _ in BAD])
def test_no_request_is_sent_to_a_url_that_is_rejected(url):
    with pytest.raises(UrlError):
        destination(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://app.example.com", ("https", "app.example.com", 443, "app.example.com", "/")),
        ("http://APP.example.com:80/A?", ("http", "app.example.com", 80, "app.example.com", "/A?")),
        (
            "https://app.example.com.:80?x=%2F",
            ("https", "app.example.com.", 80, "app.example.com:80", "/?x=%2F"),
        ),
        ("HTTPS://[2001:DB8::1]:8443//a/..", ("https", "2001:db8::1", 8443, "[2001:db8::1]:8443", "//a/..")),
    ],
)
def test_a_request_goes_to_the_url_as_it_is_written(url, expected):
    to = destination(url)

    assert (to.scheme, to.host, to.port, to.authority, to.target) == expected


def test_plain_http_is_rejected_where_https_is_required():
    with pytest.raises(UrlError, match="https"):
        check_url("http://app.example.com/", field="x", https_only=True)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://APP.example.com", "https://app.example.com"),
        ("https://app.example.com:443/", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://app.example.com.", "https://app.example.com"),
    ],
)
def test_an_origin_gets_the_form_that_browsers_send(url, origin):
    assert check_origin(url, field="return_origins") == origin
    assert origin_of(url.rstrip("/") + "/path?x=1") == origin


@pytest.mark.parametrize("url", ["https://app.example.com/path", "https://app.example.com?x=1"])
def test_more_than_an_origin_is_rejected(url):
    with pytest.raises(UrlError, match="leave the path out"):
        check_origin(url, field="return_origins")
