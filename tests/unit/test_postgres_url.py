"""DATABASE_URL: URLs as hosting providers print them are supported, or rejected by a sentence without secrets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from superimap.core.environment import SettingsError, load_settings
from superimap.core.postgres_url import connection_arguments

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
BASE = "postgresql://ann:hush@db.example.com/app"

# The query of the URL, and what remains of it for asyncpg; the source is the provider's documentation.
SUPPORTED = [
    ("", ""),
    ("sslmode=require", "sslmode=require"),  # DigitalOcean, Supabase, Azure
    ("sslmode=require&channel_binding=prefer", "sslmode=require"),
    ("sslmode=verify-full&channel_binding=require", "sslmode=verify-full"),
    ("gssencmode=disable&sslcompression=0&client_encoding=UTF8", ""),
    ("target_session_attrs=read-write", "target_session_attrs=read-write"),
    ("sslmode=verify-full&sslrootcert=system", ""),
    ("dbname=other&user=bob", "dbname=other&user=bob"),
    ("fallback_application_name=x", ""),
]
WRITABLE = "target_session_attrs=read-write"
REJECTED = [
    ("host=one,two&port=1,2,3", "another number of ports"),
    (
        "sslmode=require&channel_binding=require",
        "channel_binding that is not supported.* sslmode=verify-full",
    ),
    ("gssencmode=require", "gssencmode"),
    ("keepalives=1&keepalives_idle=30", "keepalives, which is not supported: SuperIMAP tests"),
    ("tcp_user_timeout=10000", "tcp_user_timeout"),
    ("pgbouncer=true&connection_limit=1", "pgbouncer, .* found without it"),  # Prisma
    ("statement_timeout=1000", "statement_timeout, .* options=-c%20statement_timeout%3Dvalue"),
    ("schema=public", "schema, which"),
    ("service=main", "service, which is not supported: write out"),
    ("hostaddr=10.0.0.1", "hostaddr"),
    ("sslmode=on", "wrong sslmode; .* verify-full"),
    ("sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
    ("sslrootcert=/no/such/file.pem", "sslrootcert that cannot be read"),
    ("target_session_attrs=standby", "target_session_attrs.* read-write"),
    ("connect_timeout=soon", "connect_timeout"),
    ("sslmode", "keyword=value"),
    ("client_encoding=latin1", "UTF-8"),
    ("na%20me=hush", "which is not supported: set a parameter"),
]
UNESCAPED = [
    "postgresql://ann:hu@sh@db/app", "postgresql://ann:hu/sh@db/app", "postgresql://ann:hu#sh@db/app",
    "postgresql://ann:hu?sh@db/app",
]  # fmt: skip


@pytest.mark.parametrize(("query", "left"), SUPPORTED)
def test_keywords_that_are_supported(query, left):
    found = connection_arguments(f"{BASE}?{query}")

    assert found.dsns == (f"{BASE}?{left}".rstrip("?"),)


@pytest.mark.parametrize(("query", "sentence"), REJECTED)
def test_keywords_that_are_rejected_when_the_settings_are_read(query, sentence):
    with pytest.raises(SettingsError, match=f"^DATABASE_URL (has|contains|names) .*{sentence}") as raised:
        load_settings({"database_url": f"{BASE}?{query}", "encryption_key": KEY})

    assert "hush" not in str(raised.value) and "\n" not in str(raised.value)


NOT_CONNECTABLE = [
    "h:99999/app", "h:0/app", "h:hush/app", "one,,two/app", "one:1,two:x/app", f"{'x' * 64}.example/app",
    "a..b/app", "h/app?port=70000", "/app?host=a,,b", "/app?host=a,b&port=1,hush", "[::1/app", "::1/app",
]  # fmt: skip


@pytest.mark.parametrize("rest", NOT_CONNECTABLE)
def test_a_host_or_port_that_cannot_be_connected_to_is_explained(rest):
    with pytest.raises(SettingsError, match=r"^DATABASE_URL has (a host or port|brackets)") as raised:
        load_settings({"database_url": f"postgresql://ann:hush@{rest}", "encryption_key": KEY})

    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "rest", ["[::1]:5432/app", "%2Frun%2Fpg/app", "/app", "127.0.0.1/app", "h:/app", "db_1/app"]
)
def test_hosts_that_can_be_connected_to(rest):
    connection_arguments(f"postgresql://ann@{rest}")


@pytest.mark.parametrize("url", UNESCAPED)
def test_a_password_with_reserved_characters_is_explained(url):
    with pytest.raises(SettingsError, match=r"DATABASE_URL .* must be written as %40") as raised:
        load_settings({"database_url": url, "encryption_key": KEY})

    assert "sh" not in str(raised.value)


def test_parameters_of_the_server_are_passed_on():
    found = connection_arguments(f"{BASE}?options=endpoint%3Dep-x&application_name=mine&connect_timeout=12")

    assert found.server_settings == {"options": "endpoint=ep-x", "application_name": "mine"}
    assert (found.timeout, connection_arguments(BASE).timeout) == (12.0, 5.0)
    assert connection_arguments(f"{BASE}?connect_timeout=0").timeout == 5.0
    assert connection_arguments(BASE).server_settings == {"application_name": "superimap"}


# The URL without its beginning, and what asyncpg gets for each host.
SEVERAL_HOSTS = [
    ("ann:hu@one:1,[::1]:2/app", "ann:hu@one:1/app?{}", "ann:hu@[::1]:2/app?{}"),
    ("one,two/app?sslmode=require", "one/app?sslmode=require&{}", "two/app?sslmode=require&{}"),
    ("ann@/app?host=/a,/b&port=1,2", "ann@/app?host=%2Fa&port=1&{}", "ann@/app?host=%2Fb&port=2&{}"),
    ("ann@/app?host=a,b&port=6", "ann@/app?host=a&port=6&{}", "ann@/app?host=b&port=6&{}"),
    ("ann@/app?host=a,b", "ann@/app?host=a&{}", "ann@/app?host=b&{}"),
]


@pytest.mark.parametrize(("url", "one", "two"), SEVERAL_HOSTS)
def test_of_several_hosts_each_is_connected_by_itself_if_it_can_be_written(url, one, two):
    found = connection_arguments(f"postgresql://{url}").dsns

    assert found == tuple(f"postgresql://{each.format(WRITABLE)}" for each in (one, two))
    others = connection_arguments("postgresql://ann@one,two/app?target_session_attrs=any").dsns
    assert all(each.endswith("/app?target_session_attrs=any") for each in others)


def test_certificates_of_the_system_are_verified_with_the_name_of_the_host():
    tls = connection_arguments(f"{BASE}?sslmode=verify-full&sslrootcert=system").tls

    assert tls is not None and tls.check_hostname and tls.verify_mode.name == "CERT_REQUIRED"


CONNECT = """
import asyncio, asyncpg, os
from superimap.core.runtime import replace_closed_home
asyncio.run(asyncio.sleep(0))
os.setgid(65534)
os.setuid(65534)  # after the imports, whose files only root may read
if {replaced}: replace_closed_home()
try:
    asyncio.run(asyncpg.connect("postgresql://ann@127.0.0.1:1/app", timeout=2))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize(("replaced", "seen"), [(False, "PermissionError"), (True, "ConnectionRefusedError")])
def test_a_home_that_may_not_be_entered_is_not_read(tmp_path, replaced, seen):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    script = CONNECT.format(replaced=replaced)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout.strip() == seen, done.stderr
