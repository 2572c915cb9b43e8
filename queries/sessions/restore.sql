-- name: restore(session_id, change_id, owner)^
-- Take a session out of the trash. It is as it was before: its status, its times and its place in lists.
--
-- One statement: It locks the session's row first, and so reads its newest version. Only if the status is
--   trashed, it changes the row and records the change for an hour; otherwise it returns the row as it is.
--   With `owner`, another user's session behaves as if it did not exist. The server checks constraints before
--   it notices that the row that it has read is an old version, so the new values must suit that one, too.
-- Index: sessions_pkey, changes_pkey; a change of status writes to the indexes of the lists.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 44 buffers; at most 11 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, changes; 1 row of sessions
-- Never: Seq Scan on sessions
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing.
-- Returns: SessionRecord; the current row; no row if the session is not stored. A session that is not in
--   the trash does not change. If two equal changes run at the same time, the second may fail with 23505; it
--   is safe to repeat.
WITH session AS MATERIALIZED (
    SELECT
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
    FROM sessions AS s
    WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    FOR NO KEY UPDATE
),

changed AS (
    UPDATE sessions AS s SET
        status = coalesce(s.trashed_from, s.status),
        trashed_from = NULL,
        listed_at = least(s.updated_at, statement_timestamp()),
        revision = s.revision + 1
    FROM session AS l
    WHERE
        s.session_id = l.session_id
        AND l.status = 'trashed'
        AND NOT EXISTS (
            SELECT FROM changes AS c
            WHERE c.session_id = :session_id::text AND c.change_id = :change_id::text
        )
    RETURNING s.session_id, s.status, s.revision
),

noted AS (
    INSERT INTO changes AS c (session_id, change_id, revision, kind, changed_at)
    SELECT
        s.session_id,
        (SELECT :change_id::text) AS change_id,
        s.revision,
        'restore' AS kind,
        statement_timestamp()
    FROM changed AS s
),

pruned AS (
    DELETE FROM changes AS c
    WHERE
        c.session_id = :session_id::text
        AND c.changed_at < statement_timestamp() - interval '1 hour'
        AND EXISTS (SELECT FROM changed)
)

SELECT
    s.session_id,
    s.source,
    s.user_id,
    s.parent_id,
    coalesce(c.status, s.status) AS status,
    s.next_sequence,
    s.message_count,
    s.agent_ids,
    s.metadata,
    s.created_at,
    s.updated_at,
    s.archived_at,
    coalesce(c.revision, s.revision) AS revision,
    s.fork_point
FROM session AS s
LEFT JOIN changed AS c ON s.session_id = c.session_id;
