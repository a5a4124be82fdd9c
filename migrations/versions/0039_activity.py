"""Activity: counts of mails, webhooks and attempts in short intervals, written by the dispatcher that sweeps.

Counting begins now. Rows of one interval are updated some times, so a page leaves room for their new versions; no
index has a column that changes.
"""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

COUNT = "integer NOT NULL DEFAULT 0"
HISTOGRAM = "integer[] NOT NULL DEFAULT '{}'"
STATEMENTS = (
    f"""
    CREATE TABLE activity (
        partner_id bigint NOT NULL,
        endpoint_id bigint NOT NULL,
        began_at timestamptz NOT NULL,
        seconds integer NOT NULL,
        mails {COUNT}, skipped {COUNT}, delivered {COUNT}, failed {COUNT}, cancelled {COUNT},
        accepted {COUNT}, refused {COUNT}, unanswered {COUNT}, unsent {COUNT},
        latencies {HISTOGRAM}, answer_times {HISTOGRAM},
        CONSTRAINT pk_activity PRIMARY KEY (partner_id, began_at, endpoint_id, seconds),
        CONSTRAINT fk_activity_partner_id FOREIGN KEY (partner_id) REFERENCES partners (id) ON DELETE CASCADE
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX ix_activity_age ON activity (seconds, began_at)",
    f"""
    CREATE TABLE provider_activity (
        provider_id bigint NOT NULL,
        began_at timestamptz NOT NULL,
        seconds integer NOT NULL,
        mails {COUNT}, skipped {COUNT}, delivered {COUNT}, failed {COUNT}, cancelled {COUNT},
        refusals {COUNT}, silences {COUNT},
        latencies {HISTOGRAM},
        CONSTRAINT pk_provider_activity PRIMARY KEY (provider_id, began_at, seconds),
        CONSTRAINT fk_provider_activity_provider_id
            FOREIGN KEY (provider_id) REFERENCES providers (id) ON DELETE CASCADE
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX ix_provider_activity_age ON provider_activity (seconds, began_at)",
    """
    CREATE TABLE idler_activity (
        idler_id bigint NOT NULL,
        began_at timestamptz NOT NULL,
        sessions integer NOT NULL,
        capacity bigint NOT NULL,
        users integer NOT NULL,
        CONSTRAINT pk_idler_activity PRIMARY KEY (idler_id, began_at)
    )
    """,
    "CREATE INDEX ix_idler_activity_age ON idler_activity (began_at)",
    """
    CREATE TABLE activity_marks (
        source text NOT NULL,
        counted_to timestamptz NOT NULL,
        counted_id bigint NOT NULL DEFAULT 0,
        CONSTRAINT pk_activity_marks PRIMARY KEY (source),
        CONSTRAINT ck_activity_marks_source CHECK (source IN ('messages', 'deliveries', 'attempts', 'events'))
    )
    """,
    """
    INSERT INTO activity_marks (source, counted_to, counted_id)
    SELECT source, now(), CASE source WHEN 'messages' THEN coalesce((SELECT max(id) FROM messages), 0) ELSE 0 END
    FROM unnest('{messages,deliveries,attempts,events}'::text[]) source
    """,
    # Histograms are added bucket by bucket; one may be empty.
    """
    CREATE FUNCTION add_counts(integer[], integer[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
        SELECT ARRAY(
            SELECT coalesce(a, 0) + coalesce(b, 0) FROM unnest($1, $2) WITH ORDINALITY AS t(a, b, place)
            ORDER BY place
        )
    $$
    """,
    "CREATE AGGREGATE sum_counts(integer[]) (SFUNC = add_counts, STYPE = integer[], INITCOND = '{}')",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP AGGREGATE sum_counts(integer[])")
    op.execute("DROP FUNCTION add_counts(integer[], integer[])")
    op.execute("DROP TABLE activity_marks, idler_activity, provider_activity, activity")
