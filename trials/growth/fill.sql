-- Rows of an installation that has run for 91 days, for plans and buffer counts; nothing in them can be decrypted.
-- The settings growth.users and growth.mails give the size. Triggers are off: the rows agree with one another.

SET session_replication_role = replica;
SET synchronous_commit = off;

-- Partner 1 has half of the users, 19 others share the rest; each has two providers and four endpoints.
INSERT INTO partners (id, name) SELECT p, 'partner ' || p FROM generate_series(1, 20) p;
INSERT INTO providers (id, code, title, kind, imap_host, imap_port)
SELECT 10000 + n, 'GROWTH' || n, 'Growth', 'PLAIN', 'imap.example.com', 993 FROM generate_series(1, 2) n;
INSERT INTO connections (id, partner_id, provider_id)
SELECT 2 * p - 2 + n, p, 10000 + n FROM generate_series(1, 20) p, generate_series(1, 2) n;
INSERT INTO endpoints (id, partner_id, kind, url)
SELECT 4 * p - 4 + n, p, (ARRAY['new_mail', 'user_connected', 'user_disconnected', 'events'])[n],
       'https://app.example.com/hook'
FROM generate_series(1, 20) p, generate_series(1, 4) n;
INSERT INTO idlers (id, name, version, capacity) SELECT n, 'idler' || n, '1', 100000 FROM generate_series(1, 4) n;
UPDATE shards SET owner = 1 + shard % 4, epoch = 1, changed_at = now() - interval '1 day';

-- A twentieth is archived, a twentieth is not connected; one in a hundred uses its partner's second provider.
INSERT INTO users (id, partner_id, connection_id, tag, email, login_username, login_password, archived, connected_at,
                   status, status_since, last_login_at, last_email_at, last_proven_alive_at, vouched_by, vouch_slot)
SELECT u.id, u.partner, 2 * u.partner - (u.id % 100 NOT IN (7, 8))::int, 'tag' || u.id, 'user' || u.id || '@example.com',
       'user' || u.id || '@example.com', sha256(int8send(u.id)), u.id % 20 = 3,
       CASE WHEN u.id % 20 <> 4 THEN now() - interval '91 days' END,
       CASE u.id % 20 WHEN 3 THEN 'archived' WHEN 4 THEN 'not_connected' WHEN 5 THEN 'authentication_failed'
           ELSE 'watching' END,
       now() - interval '1 day', now() - interval '50 minutes', now() - interval '1 hour',
       now() - interval '1 hour', 1 + u.id % 30, u.id / 30
FROM (SELECT id, CASE WHEN id % 2 = 0 THEN 1 ELSE 2 + id / 2 % 19 END AS partner
      FROM generate_series(1, current_setting('growth.users')::bigint) id) u;
-- The vouches of thirty idlers, of which one in ten counts for each user. They do not become too old meanwhile.
INSERT INTO vouches (voucher, turn, since, proven)
SELECT v, t, now() + interval '1 day' - t * interval '30 seconds',
       repeat(overlay('0000000000' PLACING '1' FROM 1 + t % 10 FOR 1),
              (current_setting('growth.users')::int / 300 + 1))::varbit
FROM generate_series(1, 30) v, generate_series(0, 14) t;
INSERT INTO mailboxes (id, partner_id, user_id, account, name, uid_validity, last_uid)
SELECT id, partner_id, id, login_username, 'INBOX', 1, current_setting('growth.mails')::bigint FROM users;

-- Mails in the order of their arrival. One in seven has no webhook; one in 10,000 could not be read yet.
INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, internal_date, size, sha1, fingerprint,
                      message_id, outcome, created_at)
OVERRIDING SYSTEM VALUE
SELECT m.id, u.partner_id, u.id, u.id, 1, m.id, m.at, 20000, substr(sha256(int8send(m.id)), 1, 20),
       sha256(int8send(m.id)), '<' || m.id || '@example.com>',
       CASE WHEN m.id % 10000 = 1 THEN 'deferred' WHEN m.id % 7 = 0 THEN 'before_connect' ELSE 'delivered' END, m.at
FROM (SELECT id, 1 + id * 7919 % current_setting('growth.users')::bigint AS user_id,
             now() - interval '91 days' * (1 - id::float8 / current_setting('growth.mails')::bigint) AS at
      FROM generate_series(1, current_setting('growth.mails')::bigint) id) m
JOIN users u ON u.id = m.user_id ORDER BY m.id;
INSERT INTO deferred_mails (message_id, partner_id, user_id, mailbox_id, uid_validity, uid, found_by_date,
                            next_attempt_at)
SELECT id, partner_id, user_id, mailbox_id, uid_validity, uid, false, now() FROM messages WHERE outcome = 'deferred';

-- Their webhooks. The last two in a hundred wait, which is a backlog; 500 of them are being sent; some failed.
INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, state, attempts, due_at,
                        content, created_at, settled_at, last_code)
SELECT (lpad(to_hex((extract(epoch FROM m.created_at) * 1000)::bigint), 12, '0')
           || '7' || substr(md5(m.id::text), 1, 3) || '8' || substr(md5(m.id::text), 5, 3) || lpad(to_hex(m.id), 12, '0'))::uuid,
       m.partner_id, 4 * m.partner_id - 3, m.user_id, m.id, 'new_mail', s.state, (s.state <> 'pending')::int,
       m.created_at,
       CASE WHEN s.state IN ('pending', 'failed', 'cancelled') AND s.age < 30 THEN sha256(int8send(m.id)) END,
       m.created_at, CASE WHEN s.state IN ('delivered', 'failed', 'cancelled') THEN m.created_at + interval '1 second' END,
       CASE s.state WHEN 'delivered' THEN 200 WHEN 'failed' THEN 500 END
FROM messages m, LATERAL (
    SELECT CASE WHEN m.id > current_setting('growth.mails')::bigint * 0.98 THEN 'pending'
                WHEN m.id % 400 = 2 THEN 'cancelled' WHEN m.id % 400 = 3 THEN 'failed' ELSE 'delivered' END AS state,
           extract(day FROM now() - m.created_at) AS age
) s
WHERE m.outcome = 'delivered' ORDER BY m.id;
INSERT INTO delivery_leases (endpoint_id, delivery_id, lease_until, token, holder)
SELECT d.endpoint_id, d.id, now() + interval '40 seconds', gen_random_uuid(), 1 FROM deliveries d
WHERE d.state = 'pending' ORDER BY d.message_id LIMIT 500;
INSERT INTO attempts (id, partner_id, delivery_id, number, started_at, milliseconds, code)
SELECT d.id, d.partner_id, d.id, 1, d.created_at, 40, d.last_code FROM deliveries d WHERE d.last_code IS NOT NULL
ORDER BY d.message_id;

-- An event for each user, with a webhook, at the time when it was connected.
INSERT INTO user_events (id, partner_id, user_id, kind, at)
OVERRIDING SYSTEM VALUE
SELECT id, partner_id, id, 'restored', now() - interval '91 days' * (1 - id::float8 / current_setting('growth.users')::bigint)
FROM users ORDER BY id;
INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, event_id, kind, state, attempts, due_at, created_at,
                        settled_at, last_code)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(id), 12, '0'))::uuid,
       partner_id, 4 * partner_id, user_id, id, 'events', 'delivered', 1, at, at, at, 200
FROM user_events;

-- Their activity, as far as it is kept: in the intervals in which it is written, then by hours, then by days.
INSERT INTO activity (partner_id, endpoint_id, began_at, seconds, mails, delivered, latencies)
SELECT p, 4 * p - 3, i.began_at, i.seconds, 1, 1, array_fill(1, '{17}')
FROM generate_series(1, 20) p, (
    SELECT generate_series(now() - interval '3 days', now(), interval '5 minutes') AS began_at, 300 AS seconds
    UNION ALL SELECT generate_series(now() - interval '15 days', now(), interval '1 hour'), 3600
    UNION ALL SELECT generate_series(now() - interval '100 days', now(), interval '1 day'), 86400
) i;
INSERT INTO provider_activity (provider_id, began_at, seconds, mails, delivered, latencies)
SELECT 10000 + n, i.began_at, i.seconds, 1, 1, array_fill(1, '{17}')
FROM generate_series(1, 2) n, (
    SELECT generate_series(now() - interval '3 days', now(), interval '1 minute') AS began_at, 60 AS seconds
    UNION ALL SELECT generate_series(now() - interval '15 days', now(), interval '1 hour'), 3600
    UNION ALL SELECT generate_series(now() - interval '100 days', now(), interval '1 day'), 86400
) i;
INSERT INTO idler_activity (idler_id, began_at, sessions, capacity, users)
SELECT n, generate_series(now() - interval '3 days', now(), interval '5 minutes'), 1, 1, 1
FROM generate_series(0, 100) n;

-- Tracers of two providers, 100 in ten minutes for 33 hours, and their counts.
INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, created_at, accepted_at, detected_at, verdict,
                     clean_up)
SELECT 1, u.id, 10001 + n % 2, sha256(n::text::bytea), at, at, at, CASE n % 100 WHEN 7 THEN 'late' ELSE 'detected' END,
       'kept'
FROM (SELECT id FROM users WHERE partner_id = 1 ORDER BY id LIMIT 1) u, generate_series(1, 20000) n,
     LATERAL (SELECT now() - n * interval '6 seconds') t(at);
INSERT INTO tracer_days (provider_id, day, detected)
SELECT 10000 + n, current_date - d, 7200 FROM generate_series(1, 2) n, generate_series(0, 89) d;

-- What triggers and one dispatcher make of the users.
INSERT INTO shard_user_sums (shard, wanted, digest)
SELECT shard, count(*), bit_xor(hashint8extended(id, credentials_version)) FROM users
WHERE NOT archived AND connected_at IS NOT NULL GROUP BY shard;

INSERT INTO troubled_users (user_id, partner_id, connection_id, status, since)
SELECT id, partner_id, connection_id, status, status_since FROM users WHERE status = 'authentication_failed';

SELECT setval(pg_get_serial_sequence(t, 'id'), greatest(current_setting('growth.mails')::bigint, 100000))
FROM unnest('{partners,connections,endpoints,idlers,users,mailboxes,messages,user_events}'::text[]) t;
SET session_replication_role = origin;
