-- name: append(session_id, source, user_id, parent_id, session_metadata, message_id, role, agent_id, content, metadata, owner, if_next, must_exist, session_changes)^
-- Append one message to a session. The first append creates the session.
--
-- One statement: The upsert of the session's row takes the next number and locks the row in one step. So
--   numbers have no gaps and follow the order of the commits under any concurrency, without retries.
--   max(sequence) + 1 would read a snapshot that is older than the lock. With `owner`, another user's session
--   behaves as if it did not exist. If a temporary table of the connection hides one of these tables, nothing
--   is stored. If `if_next` is not null, a session whose next number is another one takes nothing. If
--   `must_exist`, no session is created; it is set for an if_next above 0, too. The keys of `session_changes`
--   are merged into the metadata of an existing session. A trashed or deleted session has its row, so an
--   append cannot create it again.
-- Index: sessions_pkey, messages_message_id_key; the insert writes to all three indexes of messages.
-- Rows locked: the session's row, until the commit. Waits only for other writers of the same session.
-- Promises: 1 round trip; HOT; buffers O(log n) in the session's messages; WAL O(1) in the session's messages;
--   WAL O(1) in the session's metadata; buffers O(log n) in the sessions; at most 26 buffers;
--   buffers O(log n) in the user's sessions;
--   at most 8 WAL records; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/30
-- Locks: RowExclusive on sessions, messages; 1 row of sessions; waits for rows of sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: the repeated statement finds the message_id and returns the first outcome. If the message
--   was removed in between, it is stored again, as if the removal had been first.
-- Returns: Appended; no row if the session does not contain the message, and is archived, trashed or
--   deleted, or not as if_next and must_exist ask. If the message_id is already stored, nothing changes, and
--   the row has the stored message's number; is_same is false if its content differs, but not if keys were
--   added to its metadata since. If two equal appends run at the same time, the second waits for the first
--   and fails with 23505; it is safe to repeat. source, user_id, parent_id and session_metadata are stored
--   with a new session, and ignored for an existing one.
WITH prior AS (
    SELECT
        m.session_id,
        m.sequence,
        m.created_at,
        (
            m.role = :role::text
            AND m.agent_id IS NOT DISTINCT FROM :agent_id::text
            AND m.content = :content::text
            AND m.metadata || :metadata::jsonb = m.metadata
        ) AS is_same
    FROM messages AS m
    WHERE m.session_id = :session_id::text AND m.message_id = :message_id::text
),

session AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at
    )
    SELECT
        :session_id::text,
        :source::text,
        :user_id::text,
        :parent_id::text,
        :session_metadata::jsonb,
        1,
        1,
        statement_timestamp(),
        statement_timestamp(),
        statement_timestamp()
    WHERE
        NOT EXISTS (SELECT FROM prior)
        AND (
            NOT :must_exist::boolean
            OR EXISTS (
                SELECT FROM sessions AS e
                WHERE e.session_id = :session_id::text
            )
        )
        AND (
            pg_my_temp_schema() = 0
            OR (
                to_regclass('pg_temp.sessions') IS DISTINCT FROM 'sessions'::regclass
                AND to_regclass('pg_temp.messages') IS DISTINCT FROM 'messages'::regclass
            )
        )
    ON CONFLICT (session_id) DO UPDATE SET
        next_sequence = s.next_sequence + 1,
        message_count = s.message_count + 1,
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
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
        AND (:if_next::bigint IS NULL OR s.next_sequence = :if_next::bigint)
    RETURNING s.session_id, s.next_sequence - 1 AS sequence, s.updated_at
),

stored AS (
    INSERT INTO messages AS m (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        s.session_id,
        s.sequence,
        :message_id::text,
        :role::text,
        :agent_id::text,
        :content::text,
        :metadata::jsonb,
        s.updated_at
    FROM session AS s
    RETURNING m.sequence, m.created_at, true AS is_same
)

SELECT
    stored.sequence,
    stored.created_at,
    stored.is_same
FROM stored
UNION ALL
SELECT
    p.sequence,
    p.created_at,
    p.is_same
FROM prior AS p
WHERE
    :owner::text IS NULL
    OR :owner::text = (
        SELECT s.user_id
        FROM sessions AS s
        WHERE s.session_id = p.session_id
    );
