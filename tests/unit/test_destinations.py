"""Fields that name a destination: each is classified, with the stored secrets that it directs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import inspect

from superimap.api.schemas.accounts import NewConnection, NewUser
from superimap.db.accounts.validation.accounts import ConnectionFields, UserFields
from superimap.db.accounts.validation.partners import PartnerFields
from superimap.db.accounts.validation.providers import ProviderFields
from superimap.db.models import Base, Connection, Partner, Provider, User
from superimap.db.models.base import is_sealed
from superimap.domain.destinations import (
    CLIENT_SECRET,
    CONNECTION_FIELDS,
    NO_SECRET_IS_SENT,
    PASSWORD,
    PROVIDER_FIELDS,
    REFRESH_TOKEN,
    USER_FIELDS,
    misdirected_secrets,
)

DIRECTING = {**USER_FIELDS, **CONNECTION_FIELDS, **PROVIDER_FIELDS}
NO_DESTINATION = {
    # users
    "tag", "archived", "enable_tracer", "login_password", "oauth2_refresh_token", "history_days", "change_events",
    # connections
    "oauth2_client_secret", "imap_provider_code",
    # providers
    "code", "title", "kind", "idle_renew", "poll_by", "poll_seconds", "open_by", "logins_per_second",
    "connections_per_account", "folders", "oauth2_grant_type", "oauth2_client_auth", "oauth2_scope",
    "oauth2_token_method",
    "oauth2_response_type", "oauth2_access_type", "oauth2_approval_prompt", "oauth2_email_claims",
    # partners
    "name", "append_results", "send_traceparent",
}  # fmt: skip
"""Fields that can be set, and name no host, URL, port or account."""


def settable_fields() -> set[str]:
    typed = (UserFields, ConnectionFields, ProviderFields, PartnerFields)
    schemas = (NewUser, NewConnection)
    return {name for each in typed for name in each.__annotations__} | {
        name for each in schemas for name in each.model_fields
    }


def test_every_field_that_can_be_set_says_which_secrets_it_directs():
    """A new field belongs to a table of `domain/destinations.py`, or to the list above."""
    classified = {*DIRECTING, *NO_SECRET_IS_SENT, *NO_DESTINATION}

    assert settable_fields() - classified == set()
    assert classified - settable_fields() == set()


@pytest.mark.parametrize("model", [User, Connection, Provider, Partner])
def test_every_column_that_looks_like_a_destination_is_classified(model):
    marks = ("host", "port", "url", "tls", "domain", "webhook", "origin", "issuer", "site", "tenant")
    columns = {column.key for column in inspect(model).columns}
    suspicious = {name for name in columns if any(mark in name for mark in marks)}

    assert suspicious <= {*DIRECTING, *NO_SECRET_IS_SENT}


def test_every_stored_secret_has_fields_that_direct_it_or_is_never_sent():
    never_sent = {
        # They sign; the signature is sent.
        "api_keys": {"secret"},
        "signing_secrets": {"secret"},
        # Content of webhooks, which is for the partner.
        "deliveries": {"content"},
        "attempts": {"body"},
        "vault_canaries": {"word"},
        # It is compared with what an operator enters.
        "operators": {"totp_seed"},
    }
    derived = {"oauth2_access_token", "verifier"}  # of a refresh token or a client; deleted with them
    directed = {secret for secrets in DIRECTING.values() for secret in secrets}
    for table in Base.metadata.tables.values():
        sealed = {column.name for column in table.columns if is_sealed(column)}
        assert sealed <= directed | derived | never_sent.get(table.name, set()), table.name


TABLE = [
    # the fields, the present values, the new values; the secrets that need to be sent again
    (USER_FIELDS, {"imap_host": "a.example.com"}, {"imap_host": "b.example.com"}, {PASSWORD}),
    (USER_FIELDS, {"imap_host": "a.example.com"}, {"imap_host": "A.Example.com"}, set()),
    (USER_FIELDS, {"imap_host": None}, {"imap_host": "b.example.com"}, {PASSWORD}),
    (USER_FIELDS, {"imap_port": 993}, {"imap_port": 143}, {PASSWORD}),
    (USER_FIELDS, {"imap_port": 993}, {"imap_port": 143, PASSWORD: "new"}, set()),
    (USER_FIELDS, {"imap_tls": "tls"}, {"imap_tls": "none"}, {PASSWORD}),
    (USER_FIELDS, {"imap_tls": "tls"}, {"imap_tls": "starttls"}, set()),
    (USER_FIELDS, {"imap_tls": "none"}, {"imap_tls": "tls"}, set()),
    (USER_FIELDS, {"login_username": "ada"}, {"login_username": "bob"}, {PASSWORD}),
    (USER_FIELDS, {"login_username": None}, {"login_username": "ada"}, set()),
    (USER_FIELDS, {"email": "ada@example.com"}, {"email": "bob@example.com"}, {REFRESH_TOKEN}),
    (USER_FIELDS, {"email": "ada@example.com"}, {"email": "Ada@Example.com"}, set()),
    (USER_FIELDS, {"sign_in_email": "ann@example.com"}, {"sign_in_email": "bob@example.com"}, {REFRESH_TOKEN}),
    (USER_FIELDS, {"sign_in_email": "ann@example.com"}, {"sign_in_email": "Ann@Example.com"}, set()),
    (USER_FIELDS, {"sign_in_email": "ann@example.com"}, {"sign_in_email": None}, {REFRESH_TOKEN}),
    (USER_FIELDS, {"sign_in_email": None}, {"sign_in_email": "ann@example.com"}, {REFRESH_TOKEN}),
    (CONNECTION_FIELDS, {"oauth2_client_id": "a"}, {"oauth2_client_id": "b"}, {CLIENT_SECRET}),
    (CONNECTION_FIELDS, {"oauth2_client_id": "a"}, {"oauth2_client_id": "b", CLIENT_SECRET: "s"}, set()),
    (CONNECTION_FIELDS, {"oauth2_tenant": "a"}, {"oauth2_tenant": "b"}, {CLIENT_SECRET}),
    (PROVIDER_FIELDS, {"oauth2_token_url": "a"}, {"oauth2_token_url": "b"}, {REFRESH_TOKEN, CLIENT_SECRET}),
    (PROVIDER_FIELDS, {"host_by_user": True}, {"host_by_user": False}, {PASSWORD}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "before", "values", "secrets"), TABLE)
def test_a_secret_is_not_sent_where_it_was_not_given_for(fields, before, values, secrets):
    assert set(misdirected_secrets(fields, SimpleNamespace(**before), values)) == secrets
