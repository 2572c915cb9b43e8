-- name: append_all(session_ids, sources, user_ids, parent_ids, session_metadata, must_exist, confined, patience, if_next, session_changes, places, calls, message_ids, roles, agent_ids, contents, metadata)
-- Append messages to any number of sessions, in the given order. Sessions that do not exist are created.
-- All messages of a call are stored, or none of them; calls do not depend on each other.
--
-- One statement: As append, but each session's counter rises by the number of its new messages, and the
--   messages are numbered backwards from it. The arrays up to must_exist have one element per session, the
--   others one per message: `places` is the position of its session, from 1, and `calls` is the call that it
--   belongs to; all messages of a call are in one session. The arrays are passed through subqueries, so that
--   the planner does not count their elements and replan each call (tests/one_server/test_cost.py checks it).
--   In sources, user_ids, parent_ids and agent_ids, '' means null, since with array_nulls = off the server
--   reads an unquoted NULL in an array as the text 'NULL'. If `confined`, a session of a user other than the
--   given one behaves as if it did not exist. `patience` is a lock_timeout for the rest of the transaction, or
--   null, so that a batch does not wait long for one locked session. It then fails with 55P03, and the writer
--   sends that session's messages separately. As in append, no session is created whose element of `must_exist`
--   is true; `if_next` and `session_changes` apply to all given sessions.
-- Index: sessions_pkey, messages_message_id_key; the insert writes to all three indexes of messages.
-- Rows locked: the sessions' rows, until the commit, in the order of session_id, so that two of these
--   statements never deadlock. Waits only for other writers of the same sessions.
-- Promises: 1 round trip; HOT; buffers O(log n) in the session's messages; WAL O(1) in the session's messages;
--   buffers O(n log n) in the given messages, at most 23 buffers each;
--   WAL O(n) in the given messages, at most 599 WAL bytes each;
--   buffers O(n log n) in the given sessions, at most 29 buffers each;
--   WAL O(n) in the given sessions, at most 780 WAL bytes each; at most 64 buffers; at most 18 WAL records;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/12
-- Locks: RowExclusive on sessions, messages; 1 row of sessions for each of the given sessions;
--   waits for rows of sessions
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: as append, it finds the message_ids.
-- Returns: AppendedOne; in the given order; no row for a message that was not stored. Then no message of
--   its call was stored, since one of them has is_same = false (its message_id is stored with other content),
--   or the session is archived, trashed or deleted, or not as if_next and must_exist ask. A message that a
--   trigger of the service suppressed has no row either. A message that was already stored with the same
--   content keeps its number. If two equal appends run at the same time, the second waits for the first and
--   fails with 23505; it is safe to repeat.
WITH opening AS (
    SELECT
        o.place,
        o.session_id,
        nullif(o.source, '') AS source,
        nullif(o.user_id, '') AS user_id,
        nullif(o.parent_id, '') AS parent_id,
        o.metadata,
        o.must_exist
    FROM unnest(
        (SELECT :session_ids::text[]),
        (SELECT :sources::text[]),
        (SELECT :user_ids::text[]),
        (SELECT :parent_ids::text[]),
        (SELECT :session_metadata::jsonb[]),
        (SELECT :must_exist::boolean[])
    ) WITH ORDINALITY AS o (session_id, source, user_id, parent_id, metadata, must_exist, place)
),

given AS (
    SELECT
        o.session_id,
        o.user_id,
        g.call,
        g.message_id,
        g.role,
        nullif(g.agent_id, '') AS agent_id,
        g.content,
        g.metadata,
        g.position
    FROM unnest(
        (SELECT :places::bigint[]),
        (SELECT :calls::bigint[]),
        (SELECT :message_ids::text[]),
        (SELECT :roles::text[]),
        (SELECT :agent_ids::text[]),
        (SELECT :contents::text[]),
        (SELECT :metadata::jsonb[])
    ) WITH ORDINALITY AS g (place, call, message_id, role, agent_id, content, metadata, position)
    INNER JOIN opening AS o ON g.place = o.place
),

prior AS (
    SELECT
        g.session_id,
        g.user_id,
        g.call,
        g.position,
        m.sequence,
        m.created_at,
        (
            m.role = g.role
            AND m.agent_id IS NOT DISTINCT FROM g.agent_id
            AND m.content = g.content
            AND m.metadata || g.metadata = m.metadata
        ) AS is_same
    FROM given AS g
    CROSS JOIN LATERAL (
        SELECT
            m.sequence,
            m.created_at,
            m.role,
            m.agent_id,
            m.content,
            m.metadata
        FROM messages AS m
        WHERE m.session_id = g.session_id AND m.message_id = g.message_id
        ORDER BY m.message_id
        LIMIT 1
    ) AS m
),

refused AS (
    SELECT p.call
    FROM prior AS p
    WHERE NOT p.is_same
),

new AS (
    SELECT
        g.session_id,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.position,
        row_number() OVER (PARTITION BY g.session_id ORDER BY g.position DESC) AS back
    FROM given AS g
    WHERE
        g.position NOT IN (SELECT p.position FROM prior AS p)
        AND g.call NOT IN (SELECT r.call FROM refused AS r)
),

counted AS (
    SELECT DISTINCT ON (n.session_id)
        n.session_id,
        n.back AS messages
    FROM new AS n
    ORDER BY n.session_id ASC, n.back DESC
),

patience AS (
    SELECT CASE WHEN :patience::text IS NOT NULL THEN set_config('lock_timeout', :patience::text, true) END AS set_to
),

session AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at
    )
    SELECT
        o.session_id,
        o.source,
        o.user_id,
        o.parent_id,
        o.metadata,
        c.messages AS next_sequence,
        c.messages AS message_count,
        statement_timestamp(),
        statement_timestamp(),
        statement_timestamp()
    FROM counted AS c
    INNER JOIN opening AS o ON c.session_id = o.session_id
    CROSS JOIN patience
    WHERE
        (
            NOT o.must_exist
            OR (
                SELECT true
                FROM sessions AS e
                WHERE e.session_id = o.session_id
            )
        )
        AND (
            pg_my_temp_schema() = 0
            OR (
                to_regclass('pg_temp.sessions') IS DISTINCT FROM 'sessions'::regclass
                AND to_regclass('pg_temp.messages') IS DISTINCT FROM 'messages'::regclass
            )
        )
    ORDER BY o.place
    ON CONFLICT (session_id) DO UPDATE SET
        next_sequence = s.next_sequence + excluded.next_sequence,
        message_count = s.message_count + excluded.message_count,
        updated_at = CASE
            WHEN s.updated_at > excluded.updated_at + interval '1 hour' THEN excluded.updated_at
            ELSE greatest(s.updated_at, excluded.updated_at)
        END,
        listed_at = CASE
            WHEN
                excluded.updated_at < s.listed_at + interval '1 minute'
                AND s.listed_at < excluded.updated_at + interval '1 hour'
                THEN s.listed_at
            ELSE excluded.updated_at
        END,
        metadata = CASE
            WHEN :session_changes::jsonb IS NULL THEN s.metadata
            ELSE (s.metadata || :session_changes::jsonb)::dal_object
        END
    WHERE
        s.status IN ('active', 'paused')
        AND (NOT :confined::boolean OR s.user_id = excluded.user_id)
        AND (:if_next::bigint IS NULL OR s.next_sequence = :if_next::bigint)
    RETURNING s.session_id, s.next_sequence, s.updated_at
),

numbered AS (
    SELECT
        n.position,
        n.session_id,
        s.next_sequence - n.back AS sequence,
        n.message_id,
        n.role,
        n.agent_id,
        n.content,
        n.metadata,
        s.updated_at AS created_at
    FROM new AS n
    INNER JOIN session AS s ON n.session_id = s.session_id
),

stored AS (
    INSERT INTO messages AS m (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        n.session_id,
        n.sequence,
        n.message_id,
        n.role,
        n.agent_id,
        n.content,
        n.metadata,
        n.created_at
    FROM numbered AS n
    ORDER BY n.position
    RETURNING m.session_id, m.sequence
),

outcome AS (
    SELECT
        n.position,
        n.sequence,
        n.created_at,
        true AS is_same
    FROM numbered AS n
    INNER JOIN stored AS m ON n.session_id = m.session_id AND n.sequence = m.sequence
    UNION ALL
    SELECT
        p.position,
        p.sequence,
        p.created_at,
        p.is_same
    FROM prior AS p
    WHERE
        NOT (SELECT :confined::boolean)
        OR p.user_id = (
            SELECT s.user_id
            FROM sessions AS s
            WHERE s.session_id = p.session_id
        )
)

SELECT
    o.position,
    o.sequence,
    o.created_at,
    o.is_same
FROM outcome AS o
ORDER BY o.position;
