-- name: fork(session_id, fork_id, fork_point, metadata, owner)^
-- Create a session with the messages of another one before a sequence number. They keep their numbers, ids
-- and times.
--
-- One statement: The parent's counters and messages come from one snapshot, so the fork is the parent as it
--   was at one moment, and appends and removals that run meanwhile are in it as a whole or not at all. The
--   lock is taken in a CTE of its own, and the counters are read beside it: a row that was waited for would
--   be newer than the snapshot. fork_point is compared in a subquery: with statistics from before a bulk
--   load, the planner would expect that all messages are before it, take any index that begins with
--   session_id, and read the whole session. With `owner`, another user's session behaves as if it did not
--   exist. If a temporary table of the connection hides one of these tables, nothing is stored.
-- Index: sessions_pkey, messages_pkey; the insert writes to all indexes of both tables.
-- Rows locked: the parent's row FOR KEY SHARE, until the commit, which blocks no append or removal. A
--   deletion waits for the fork, and the fork for a deletion.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(log n) in the session's messages;
--   buffers O(n) in the copied messages, at most 16 buffers each;
--   WAL O(n) in the copied messages, at most 660 WAL bytes each; at most 60 buffers; at most 24 WAL records;
--   buffers O(log n) in the user's sessions; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages; waits for rows of sessions
-- Never: Seq Scan
-- Repeat: safe: the repeated statement finds the fork_id taken, and stores nothing.
-- Returns: SessionRecord; the new session; no row if the parent is not stored, trashed or deleted, or if
--   fork_id is taken.
WITH parent AS MATERIALIZED (
    SELECT p.session_id
    FROM sessions AS p
    WHERE
        p.session_id = :session_id::text
        AND p.status IN ('active', 'paused', 'archived')
        AND (:owner::text IS NULL OR p.user_id IS NOT DISTINCT FROM :owner::text)
        AND (
            pg_my_temp_schema() = 0
            OR (
                to_regclass('pg_temp.sessions') IS DISTINCT FROM to_regclass('sessions')
                AND to_regclass('pg_temp.messages') IS DISTINCT FROM to_regclass('messages')
            )
        )
    FOR KEY SHARE
),

counted AS (
    SELECT count(*) AS messages
    FROM messages AS m
    WHERE m.session_id = (SELECT :session_id::text) AND m.sequence < (SELECT :fork_point::bigint)
),

forked AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, fork_point, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at
    )
    SELECT
        :fork_id::text,
        o.source,
        o.user_id,
        o.session_id,
        least(:fork_point::bigint, o.next_sequence),
        :metadata::jsonb,
        least(:fork_point::bigint, o.next_sequence),
        (
            SELECT c.messages
            FROM counted AS c
        ),
        statement_timestamp(),
        CASE
            WHEN o.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(o.updated_at, statement_timestamp())
        END,
        statement_timestamp()
    FROM sessions AS o
    WHERE
        o.session_id = (
            SELECT p.session_id
            FROM parent AS p
        )
    ON CONFLICT (session_id) DO NOTHING
    RETURNING
        s.session_id,
        s.source,
        s.user_id,
        s.parent_id,
        s.status,
        s.next_sequence,
        s.message_count,
        s.agent_ids,
        s.metadata,
        s.created_at,
        s.updated_at,
        s.archived_at,
        s.revision,
        s.fork_point
),

copied AS (
    INSERT INTO messages (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        :fork_id::text,
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at
    FROM messages AS m
    WHERE
        m.session_id = (
            SELECT f.parent_id
            FROM forked AS f
        )
        AND m.sequence < (SELECT :fork_point::bigint)
)

SELECT
    f.session_id,
    f.source,
    f.user_id,
    f.parent_id,
    f.status,
    f.next_sequence,
    f.message_count,
    f.agent_ids,
    f.metadata,
    f.created_at,
    f.updated_at,
    f.archived_at,
    f.revision,
    f.fork_point
FROM forked AS f;
