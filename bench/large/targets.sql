-- name: choose_targets()
-- Choose the sessions and users for the measured calls: a huge session, one of average length, and so on.
SELECT
    w.name,
    t.session_id,
    t.user_id,
    t.parent_id,
    t.next_sequence,
    t.message_count,
    t.message_id
FROM (
    VALUES
    ('huge', 'active', 'heavy', 1 << 30, false, false),
    ('average', 'active', 'user', 100, false, false),
    ('of heavy', 'active', 'heavy', 100, false, false),
    ('archived', 'archived', 'user', 100, false, false),
    ('trashed', 'trashed', 'user', 100, false, false),
    ('removed', 'active', 'user', 100, true, false),
    ('child', 'active', '', 100, false, true),
    ('paused', 'active', 'heavy', 90, false, false),
    ('pair', 'active', 'user', 2, false, false),
    ('pair of heavy', 'active', 'heavy', 2, false, false)
) AS w (name, status, user_id, messages, is_removed, is_child)
CROSS JOIN LATERAL (
    SELECT
        s.session_id,
        s.user_id,
        s.parent_id,
        s.next_sequence,
        s.message_count,
        (
            SELECT m.message_id
            FROM messages AS m
            WHERE m.session_id = s.session_id AND m.sequence = s.message_count / 2
        ) AS message_id
    FROM sessions AS s
    WHERE
        s.status = w.status
        AND starts_with(s.user_id, w.user_id)
        AND (s.next_sequence > s.message_count) = w.is_removed
        AND (NOT w.is_child OR s.parent_id IS NOT NULL)
    ORDER BY abs(s.message_count - w.messages), s.session_id
    LIMIT 1
) AS t
UNION ALL
SELECT
    'tombstone' AS name,
    s.session_id,
    NULL AS user_id,
    NULL AS parent_id,
    s.next_sequence,
    s.message_count,
    NULL AS message_id
FROM sessions AS s
WHERE
    s.session_id = (
        SELECT min(d.session_id)
        FROM sessions AS d
        WHERE d.status = 'deleted'
    );

-- name: list_ahead(session_ids)!
-- Move sessions half an hour ahead in lists, so that no measured call moves them.
UPDATE sessions SET listed_at = now() + interval '30 minutes'
WHERE session_id = any(:session_ids::text[]) AND listed_at < now() + interval '15 minutes';

-- name: put_first(session_ids)!
-- Make sessions the longest idle ones, so that a deletion begins with them.
UPDATE sessions SET listed_at = timestamptz '2020-01-01 00:00+00', updated_at = timestamptz '2020-01-01 00:00+00'
WHERE session_id = any(:session_ids::text[]) AND listed_at > timestamptz '2020-01-01 00:00+00';

-- name: pause(session_id)!
-- Pause a session, so that it can be resumed.
UPDATE sessions SET status = 'paused'
WHERE session_id = :session_id::text AND status <> 'paused';

-- name: last_activity()$
-- Return the time of the latest activity in any session.
SELECT max(s.updated_at) AS ended
FROM sessions AS s;
