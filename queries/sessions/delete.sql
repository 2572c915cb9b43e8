-- name: delete(session_id, owner)^
-- Delete a session and all its messages. A tombstone is left, so that its id is not used again by accident.
--
-- One statement: The foreign key deletes the messages with the session's row, also those of an append that
--   this statement waited for. The tombstone is a new row with the same id: its status is deleted, and it
--   keeps only the counters and times. An append that waits for the old row meets it, and is refused. With
--   `owner`, another user's session behaves as if it did not exist.
-- Index: sessions_pkey, and messages_pkey for the messages; the insert writes to sessions_pkey and
--   sessions_listed.
-- Rows locked: the session's row and its messages, until the commit. Waits for a writer of the same
--   session.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the session's messages, at most 2 buffers each;
--   WAL O(n) in the session's messages, at most 69 WAL bytes each; at most 36 buffers; at most 7 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE
-- Never: Seq Scan
-- Repeat: safe: the repeated statement meets the tombstone, and does nothing. Only create(again=True)
--   begins another session with this id; if somebody did that in between, a repeated delete deletes that
--   session, as if it had been sent later.
-- Returns: Deleted; no row if the session is not stored, or was deleted before.
WITH deleted AS (
    DELETE FROM sessions AS s
    WHERE
        s.session_id = :session_id::text
        AND s.status <> 'deleted'
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    RETURNING s.session_id, s.next_sequence, s.revision, s.created_at, s.updated_at
)

INSERT INTO sessions AS t (
    session_id, status, metadata, next_sequence, message_count, revision, created_at, updated_at, listed_at
)
SELECT
    d.session_id,
    'deleted',
    '{}',
    d.next_sequence,
    0,
    d.revision + 1,
    d.created_at,
    CASE
        WHEN d.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
        ELSE greatest(d.updated_at, statement_timestamp())
    END,
    statement_timestamp()
FROM deleted AS d
RETURNING t.session_id;
