-- name: append_all(session_id, source, user_id, parent_id, session_metadata, message_ids, roles, agent_ids, contents, metadata, owner)
-- Append several messages to a session in the order given, all or none, and create the session if
-- they are its first.
--
-- One statement: as append, with the counter raised by as many as are new.
--   The arrays stand in subqueries so that the planner does not count their elements and plan anew for
--   each call (tests/test_cost.py holds it to that).
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_pkey, messages_message_id_key; the insert writes to all three of messages.
-- Rows locked: the session's row until the commit. Waits for other writers of the same session alone.
-- Promises: 1 round trip; HOT; buffers O(log n) in the session's messages; WAL O(1) in the session's messages;
--   buffers O(n log n) in the given messages; WAL O(n) in the given messages
-- Held snapshot: buffers O(n) in the appends since, at most n/12
-- Locks: RowExclusive on sessions, messages; 1 row of sessions
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe, as append: the message_ids are found.
-- Returns: AppendedOne, in the order given; no row for those that were not stored: then none was, because
--   one has is_same false (its message_id is there with other content), or else because the session is
--   archived. Those that are there already with the same content keep their number.
--   While the first of two equal appends has not committed, the second waits and then fails with
--   23505; it is safe to repeat.
WITH given AS (
    SELECT
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.position
    FROM unnest(
        (SELECT :message_ids::text[]),
        (SELECT :roles::text[]),
        (SELECT :agent_ids::text[]),
        (SELECT :contents::text[]),
        (SELECT :metadata::jsonb[])
    ) WITH ORDINALITY AS g (message_id, role, agent_id, content, metadata, position)
),

prior AS (
    SELECT
        g.position,
        m.session_id,
        m.sequence,
        m.created_at,
        (
            m.role = g.role
            AND m.agent_id IS NOT DISTINCT FROM g.agent_id
            AND m.content = g.content
            AND m.metadata = g.metadata
        ) AS is_same
    FROM given AS g
    CROSS JOIN LATERAL (
        SELECT
            m.session_id,
            m.sequence,
            m.created_at,
            m.role,
            m.agent_id,
            m.content,
            m.metadata
        FROM messages AS m
        WHERE m.session_id = :session_id::text AND m.message_id = g.message_id
        ORDER BY m.message_id
        LIMIT 1
    ) AS m
),

new AS (
    SELECT
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.position,
        row_number() OVER (ORDER BY g.position) AS place
    FROM given AS g
    WHERE
        g.position NOT IN (SELECT p.position FROM prior AS p)
        AND true = all(SELECT p.is_same FROM prior AS p)
),

total AS (
    SELECT n.place AS messages
    FROM new AS n
    ORDER BY n.place DESC
    LIMIT 1
),

session AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count, created_at, updated_at
    )
    SELECT
        :session_id::text,
        :source::text,
        :user_id::text,
        :parent_id::text,
        :session_metadata::jsonb,
        t.messages AS next_sequence,
        t.messages AS message_count,
        statement_timestamp(),
        statement_timestamp()
    FROM total AS t
    ON CONFLICT (session_id) DO UPDATE SET
        next_sequence = s.next_sequence + excluded.next_sequence,
        message_count = s.message_count + excluded.message_count,
        updated_at = greatest(s.updated_at, excluded.updated_at)
    WHERE s.status <> 'archived' AND (:owner::text IS NULL OR s.user_id = :owner::text)
    RETURNING s.session_id, s.next_sequence, s.updated_at
),

stored AS (
    INSERT INTO messages AS m (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        s.session_id,
        s.next_sequence - t.messages + n.place - 1,
        n.message_id,
        n.role,
        n.agent_id,
        n.content,
        n.metadata,
        s.updated_at
    FROM session AS s
    CROSS JOIN total AS t
    CROSS JOIN new AS n
    RETURNING m.message_id, m.sequence, m.created_at
),

outcome AS (
    SELECT
        n.position,
        s.sequence,
        s.created_at,
        true AS is_same
    FROM stored AS s
    INNER JOIN new AS n ON s.message_id = n.message_id
    UNION ALL
    SELECT
        p.position,
        p.sequence,
        p.created_at,
        p.is_same
    FROM prior AS p
    WHERE
        (SELECT :owner::text) IS NULL
        OR EXISTS (
            SELECT FROM sessions AS s
            WHERE s.session_id = p.session_id AND s.user_id = (SELECT :owner::text)
        )
)

SELECT
    o.position,
    o.sequence,
    o.created_at,
    o.is_same
FROM outcome AS o
ORDER BY o.position;
