-- name: replace_from(session_id, sequence, change_id, keep, if_next, session_changes, message_ids, roles, agent_ids, contents, metadata, owner)
-- Remove the messages from a sequence number on, and append others in their place, for example a new answer.
--
-- One statement: As remove_from, and then as append_all, within one update of the session's row: readers
--   see the old messages or the new ones, never both and never none. The new messages get new numbers. If the
--   session was changed in another way while this statement waited for the lock, as by another replacement,
--   nothing happens and is_stale is true; so two replacements at the same time leave one of them. A new
--   message may have the id of a message that it replaces, but not of one that stays. The arrays have one
--   element per new message and are passed as in append_all; in agent_ids, '' means null. The keys of
--   `session_changes` are merged into the session's metadata. The change is recorded even if no message was
--   removed, so that repeating it changes nothing.
-- Index: sessions_pkey, messages_pkey, messages_message_id_key, changes_pkey.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 15 buffers each;
--   buffers O(n log n) in the given messages, at most 23 buffers each;
--   WAL O(n) in the given messages, at most 600 WAL bytes each;
--   WAL O(n) in the removed messages, at most 380 WAL bytes each; buffers O(n) in the session's changes, at most n/20;
--   at most 74 buffers; at most 16 WAL records;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the repeated statement finds the change_id, changes nothing more, and finds the new
--   messages by their ids, unless they were removed since.
-- Returns: ReplacedRow; in the given order; no row if the session is not stored, or if nothing could be
--   stored or kept. One row per new message; if none was stored, there is one row without a position. If the
--   session is archived, trashed or deleted, or not as if_next asks, nothing changes and is_refused is true.
--   If a message that stays has a given id, nothing changes, and is_same is false for that one.
WITH prior AS (
    SELECT
        c.session_id,
        c.messages
    FROM changes AS c
    WHERE c.session_id = :session_id::text AND c.change_id = :change_id::text
),

given AS (
    SELECT
        g.position,
        g.message_id,
        g.role,
        nullif(g.agent_id, '') AS agent_id,
        g.content,
        g.metadata,
        count(*) OVER () - g.position + 1 AS back
    FROM unnest(
        (SELECT :message_ids::text[]),
        (SELECT :roles::text[]),
        (SELECT :agent_ids::text[]),
        (SELECT :contents::text[]),
        (SELECT :metadata::jsonb[])
    ) WITH ORDINALITY AS g (message_id, role, agent_id, content, metadata, position)
),

there AS (
    SELECT
        g.position,
        m.sequence,
        m.created_at
    FROM given AS g
    CROSS JOIN LATERAL (
        SELECT
            m.sequence,
            m.created_at
        FROM messages AS m
        WHERE m.session_id = :session_id::text AND m.message_id = g.message_id
        ORDER BY m.message_id
        LIMIT 1
    ) AS m
    WHERE m.sequence < :sequence::bigint OR EXISTS (SELECT FROM prior)
),

session AS MATERIALIZED (
    SELECT
        s.session_id,
        (
            s.status IN ('active', 'paused')
            AND ((SELECT :if_next::bigint) IS NULL OR s.next_sequence = (SELECT :if_next::bigint))
        ) AS is_open,
        (
            SELECT count(*) > 0
            FROM there
        ) AS is_conflict,
        s.revision <> seen.revision AS is_stale
    FROM sessions AS s
    INNER JOIN sessions AS seen ON s.session_id = seen.session_id
    WHERE
        s.session_id = :session_id::text
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
        AND NOT EXISTS (SELECT FROM prior)
        AND (
            pg_my_temp_schema() = 0
            OR (
                to_regclass('pg_temp.messages') IS DISTINCT FROM to_regclass('messages')
                AND to_regclass('pg_temp.removed_messages') IS DISTINCT FROM to_regclass('removed_messages')
            )
        )
    FOR NO KEY UPDATE OF s
),

removed AS (
    DELETE FROM messages AS m
    USING session AS s
    WHERE
        m.session_id = :session_id::text
        AND m.sequence >= :sequence::bigint
        AND s.is_open
        AND NOT s.is_conflict
        AND NOT s.is_stale
    RETURNING m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content, m.metadata, m.created_at
),

kept AS (
    INSERT INTO removed_messages AS k (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at, removed_at
    )
    SELECT
        r.session_id,
        r.sequence,
        r.message_id,
        r.role,
        r.agent_id,
        r.content,
        r.metadata,
        r.created_at,
        statement_timestamp()
    FROM removed AS r
    WHERE :keep::boolean
),

total AS (
    SELECT
        count(*) AS messages,
        min(r.sequence) AS first_sequence,
        max(r.sequence) AS last_sequence
    FROM removed AS r
),

counted AS (
    UPDATE sessions AS s SET
        next_sequence = s.next_sequence + n.messages,
        message_count = s.message_count - t.messages + n.messages,
        revision = s.revision + 1,
        updated_at = CASE
            WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(s.updated_at, statement_timestamp())
        END,
        listed_at = CASE
            WHEN
                statement_timestamp() < s.listed_at + interval '1 minute'
                AND s.listed_at < statement_timestamp() + interval '1 hour'
                THEN s.listed_at
            ELSE statement_timestamp()
        END,
        metadata = CASE
            WHEN :session_changes::jsonb IS NULL THEN s.metadata ELSE s.metadata || :session_changes::jsonb
        END
    FROM session AS l
    CROSS JOIN total AS t
    CROSS JOIN (
        SELECT count(*) AS messages
        FROM given
    ) AS n
    WHERE s.session_id = l.session_id AND l.is_open AND NOT l.is_conflict AND NOT l.is_stale
    RETURNING s.session_id, s.revision, s.next_sequence, s.updated_at
),

stored AS (
    INSERT INTO messages AS m (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        s.session_id,
        s.next_sequence - g.back,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        s.updated_at
    FROM counted AS s
    CROSS JOIN given AS g
    ORDER BY g.position
    RETURNING m.sequence, m.created_at
),

noted AS (
    INSERT INTO changes AS c (
        session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
    )
    SELECT
        s.session_id,
        (SELECT :change_id::text) AS change_id,
        s.revision,
        'replace' AS kind,
        t.first_sequence,
        t.last_sequence,
        t.messages,
        statement_timestamp()
    FROM counted AS s
    CROSS JOIN total AS t
),

pruned AS (
    DELETE FROM changes AS c
    USING counted AS s
    WHERE c.session_id = s.session_id AND c.changed_at < statement_timestamp() - interval '1 hour'
),

state AS (
    SELECT
        NOT s.is_open AS is_refused,
        s.is_stale
    FROM session AS s
    UNION ALL
    SELECT
        false AS is_refused,
        false AS is_stale
    FROM prior AS p
    WHERE
        (SELECT :owner::text) IS NULL
        OR (SELECT :owner::text) = (
            SELECT s.user_id
            FROM sessions AS s
            WHERE s.session_id = p.session_id
        )
),

outcome AS (
    SELECT
        g.position,
        m.sequence,
        m.created_at,
        true AS is_same
    FROM stored AS m
    CROSS JOIN counted AS s
    INNER JOIN given AS g ON g.back = s.next_sequence - m.sequence
    UNION ALL
    SELECT
        t.position,
        t.sequence,
        t.created_at,
        (
            SELECT count(*) > 0
            FROM prior
        ) AS is_same
    FROM there AS t
)

SELECT
    s.is_refused,
    s.is_stale,
    o.position,
    o.sequence,
    o.created_at,
    o.is_same
FROM state AS s
LEFT JOIN outcome AS o ON true
ORDER BY o.position;
