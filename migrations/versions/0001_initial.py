"""Initial schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idlers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("sessions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_full", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_stopping", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idlers")),
    )
    op.create_table(
        "partners",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("success_url", sa.Text(), nullable=True),
        sa.Column("failure_url", sa.Text(), nullable=True),
        sa.Column(
            "return_origins", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partners")),
    )
    op.create_index("uq_partners_name", "partners", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "providers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("imap_host", sa.Text(), nullable=False),
        sa.Column("imap_port", sa.Integer(), nullable=False),
        sa.Column("imap_tls", sa.Text(), server_default="tls", nullable=False),
        sa.Column("smtp_host", sa.Text(), nullable=True),
        sa.Column("smtp_port", sa.Integer(), nullable=True),
        sa.Column("smtp_domain", sa.Text(), nullable=True),
        sa.Column("smtp_tls", sa.Text(), server_default="starttls", nullable=False),
        sa.Column("oauth2_grant_type", sa.Text(), nullable=True),
        sa.Column("oauth2_scope", sa.Text(), nullable=True),
        sa.Column("oauth2_site", sa.Text(), nullable=True),
        sa.Column("oauth2_token_method", sa.Text(), nullable=True),
        sa.Column("oauth2_token_url", sa.Text(), nullable=True),
        sa.Column("oauth2_authorize_url", sa.Text(), nullable=True),
        sa.Column("oauth2_response_type", sa.Text(), nullable=True),
        sa.Column("oauth2_access_type", sa.Text(), nullable=True),
        sa.Column("oauth2_approval_prompt", sa.Text(), nullable=True),
        sa.Column("oauth2_userinfo_url", sa.Text(), nullable=True),
        sa.Column("oauth2_revoke_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("imap_tls IN ('tls', 'starttls', 'none')", name=op.f("ck_providers_imap_tls")),
        sa.CheckConstraint(
            "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_authorize_url IS "
            "NOT NULL AND oauth2_scope IS NOT NULL)",
            name=op.f("ck_providers_oauth2_complete"),
        ),
        sa.CheckConstraint("kind IN ('PLAIN', 'OAUTH2')", name=op.f("ck_providers_kind")),
        sa.CheckConstraint("smtp_tls IN ('tls', 'starttls', 'none')", name=op.f("ck_providers_smtp_tls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
    )
    op.create_index("uq_providers_code", "providers", [sa.literal_column("upper(code)")], unique=True)
    op.create_table(
        "vault_canaries",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("word", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_vault_canaries")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.id"], name=op.f("fk_api_keys_partner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_partner_id"), "api_keys", ["partner_id"], unique=False)
    op.create_table(
        "connections",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("oauth2_client_id", sa.Text(), nullable=True),
        sa.Column("oauth2_client_secret", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.id"], name=op.f("fk_connections_partner_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_connections_provider_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
        sa.UniqueConstraint("id", "partner_id", name=op.f("uq_connections_id_partner_id")),
        sa.UniqueConstraint("partner_id", "provider_id", name=op.f("uq_connections_partner_id_provider_id")),
    )
    op.create_index(op.f("ix_connections_provider_id"), "connections", ["provider_id"], unique=False)
    op.create_table(
        "endpoints",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('new_mail', 'user_connected', 'user_disconnected')", name=op.f("ck_endpoints_kind")
        ),
        sa.CheckConstraint("url <> ''", name=op.f("ck_endpoints_url_not_blank")),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.id"], name=op.f("fk_endpoints_partner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("id", "partner_id", name=op.f("uq_endpoints_id_partner_id")),
        sa.UniqueConstraint("partner_id", "kind", name=op.f("uq_endpoints_partner_id_kind")),
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["idlers.id"], name=op.f("fk_shards_owner"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shards")),
        sa.UniqueConstraint("shard", "epoch", name=op.f("uq_shards_shard_epoch")),
    )
    op.create_index(op.f("ix_shards_owner"), "shards", ["owner"], unique=False)
    op.create_table(
        "signing_secrets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partners.id"], name=op.f("fk_signing_secrets_partner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_secrets")),
    )
    op.create_index(op.f("ix_signing_secrets_partner_id"), "signing_secrets", ["partner_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), sa.Computed("id % 4096", persisted=True), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("login_username", sa.Text(), nullable=True),
        sa.Column("login_password", sa.LargeBinary(), nullable=True),
        sa.Column("oauth2_refresh_token", sa.LargeBinary(), nullable=True),
        sa.Column("oauth2_access_token", sa.LargeBinary(), nullable=True),
        sa.Column("oauth2_access_token_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enable_tracer", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("archived", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("credentials_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.Text(), server_default="not_connected", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column(
            "status_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_email_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_proven_alive_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('not_connected', 'connecting', 'watching', "
            "'backing_off', 'authentication_failed', 'archived')",
            name=op.f("ck_users_status"),
        ),
        sa.ForeignKeyConstraint(
            ["connection_id", "partner_id"],
            ["connections.id", "connections.partner_id"],
            name=op.f("fk_users_connection_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("id", "partner_id", name=op.f("uq_users_id_partner_id")),
    )
    op.create_index("ix_users_listed", "users", ["connection_id", "email", "id"], unique=False)
    op.create_index(
        "ix_users_shard",
        "users",
        ["shard"],
        unique=False,
        postgresql_where=sa.text("NOT archived AND connected_at IS NOT NULL"),
    )
    op.create_index(
        "uq_users_email",
        "users",
        ["connection_id", sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("NOT archived"),
    )
    op.create_index(
        "uq_users_tag",
        "users",
        ["connection_id", sa.literal_column("lower(tag)")],
        unique=True,
        postgresql_where=sa.text("NOT archived"),
    )
    op.create_table(
        "mailboxes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=True),
        sa.Column("last_uid", sa.BigInteger(), nullable=True),
        sa.Column("last_internal_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("last_uid BETWEEN 0 AND 4294967295", name=op.f("ck_mailboxes_last_uid")),
        sa.CheckConstraint("uid_validity BETWEEN 0 AND 4294967295", name=op.f("ck_mailboxes_uid_validity")),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name=op.f("fk_mailboxes_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailboxes")),
        sa.UniqueConstraint("id", "user_id", "partner_id", name=op.f("uq_mailboxes_id_user_id_partner_id")),
        sa.UniqueConstraint("user_id", "account", "name", name=op.f("uq_mailboxes_user_id_account_name")),
    )
    op.create_table(
        "oauth_states",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("state_digest", sa.LargeBinary(), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(), nullable=False),
        sa.Column("verifier", sa.LargeBinary(), nullable=False),
        sa.Column("success_url", sa.Text(), nullable=True),
        sa.Column("failure_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name=op.f("fk_oauth_states_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_states")),
        sa.UniqueConstraint("state_digest", name=op.f("uq_oauth_states_state_digest")),
    )
    op.create_table(
        "tracers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name=op.f("fk_tracers_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracers")),
        sa.UniqueConstraint("user_id", "token_digest", name=op.f("uq_tracers_user_id_token_digest")),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("internal_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha1", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("duplicate_of", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('delivered', 'duplicate', 'before_connect', 'too_big', "
            "'own_mail', 'unreadable', 'gone', 'no_webhook')",
            name=op.f("ck_messages_outcome"),
        ),
        sa.CheckConstraint("uid BETWEEN 0 AND 4294967295", name=op.f("ck_messages_uid")),
        sa.CheckConstraint("uid_validity BETWEEN 0 AND 4294967295", name=op.f("ck_messages_uid_validity")),
        sa.ForeignKeyConstraint(
            ["mailbox_id", "user_id", "partner_id"],
            ["mailboxes.id", "mailboxes.user_id", "mailboxes.partner_id"],
            name=op.f("fk_messages_mailbox_id_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", "partner_id", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "mailbox_id", "uid_validity", "uid", name=op.f("uq_messages_mailbox_id_uid_validity_uid")
        ),
    )
    op.create_index(
        "ix_messages_created_at", "messages", ["created_at"], unique=False, postgresql_using="brin"
    )
    op.create_index(
        "ix_messages_fingerprint",
        "messages",
        ["user_id", "fingerprint"],
        unique=False,
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_sha1",
        "messages",
        ["user_id", "sha1"],
        unique=False,
        postgresql_where=sa.text("sha1 IS NOT NULL"),
    )
    op.create_index("ix_messages_user", "messages", ["user_id", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("endpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_code", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('new_mail', 'user_connected', 'user_disconnected')", name=op.f("ck_deliveries_kind")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'delivered', 'failed', 'cancelled')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id", "partner_id"],
            ["endpoints.id", "endpoints.partner_id"],
            name=op.f("fk_deliveries_endpoint_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id", "partner_id"],
            ["messages.id", "messages.partner_id"],
            name=op.f("fk_deliveries_message_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name=op.f("fk_deliveries_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", "partner_id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["endpoint_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_kept",
        "deliveries",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("content IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_lease",
        "deliveries",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_deliveries_message",
        "deliveries",
        ["message_id"],
        unique=False,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_sending",
        "deliveries",
        ["endpoint_id"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_deliveries_settled",
        "deliveries",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.create_index("ix_deliveries_user", "deliveries", ["user_id", "created_at"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id", "partner_id"],
            ["deliveries.id", "deliveries.partner_id"],
            name=op.f("fk_attempts_delivery_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_delivery", "attempts", ["delivery_id", "number"], unique=False)

    op.execute("INSERT INTO shards (shard) SELECT generate_series(0, 4095)")


def downgrade() -> None:
    op.drop_index("ix_attempts_delivery", table_name="attempts")
    op.drop_table("attempts")
    op.drop_index("ix_deliveries_user", table_name="deliveries")
    op.drop_index(
        "ix_deliveries_settled", table_name="deliveries", postgresql_where=sa.text("settled_at IS NOT NULL")
    )
    op.drop_index(
        "ix_deliveries_sending", table_name="deliveries", postgresql_where=sa.text("state = 'sending'")
    )
    op.drop_index(
        "ix_deliveries_message", table_name="deliveries", postgresql_where=sa.text("message_id IS NOT NULL")
    )
    op.drop_index(
        "ix_deliveries_kept", table_name="deliveries", postgresql_where=sa.text("content IS NOT NULL")
    )
    op.drop_index(
        "ix_deliveries_lease", table_name="deliveries", postgresql_where=sa.text("state = 'sending'")
    )
    op.drop_index("ix_deliveries_due", table_name="deliveries", postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("deliveries")
    op.drop_index("ix_messages_user", table_name="messages")
    op.drop_index("ix_messages_sha1", table_name="messages", postgresql_where=sa.text("sha1 IS NOT NULL"))
    op.drop_index(
        "ix_messages_fingerprint", table_name="messages", postgresql_where=sa.text("fingerprint IS NOT NULL")
    )
    op.drop_index("ix_messages_created_at", table_name="messages", postgresql_using="brin")
    op.drop_table("messages")
    op.drop_table("tracers")
    op.drop_table("oauth_states")
    op.drop_table("mailboxes")
    op.drop_index("uq_users_tag", table_name="users", postgresql_where=sa.text("NOT archived"))
    op.drop_index("uq_users_email", table_name="users", postgresql_where=sa.text("NOT archived"))
    op.drop_index(
        "ix_users_shard",
        table_name="users",
        postgresql_where=sa.text("NOT archived AND connected_at IS NOT NULL"),
    )
    op.drop_index("ix_users_listed", table_name="users")
    op.drop_table("users")
    op.drop_index(op.f("ix_signing_secrets_partner_id"), table_name="signing_secrets")
    op.drop_table("signing_secrets")
    op.drop_index(op.f("ix_shards_owner"), table_name="shards")
    op.drop_table("shards")
    op.drop_table("endpoints")
    op.drop_index(op.f("ix_connections_provider_id"), table_name="connections")
    op.drop_table("connections")
    op.drop_index(op.f("ix_api_keys_partner_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("vault_canaries")
    op.drop_index("uq_providers_code", table_name="providers")
    op.drop_table("providers")
    op.drop_index("uq_partners_name", table_name="partners")
    op.drop_table("partners")
    op.drop_table("idlers")
