-- name: purge(before, limit)^
-- Remove old tombstones of deleted sessions, and old removed messages: at most `limit` of each. Call it until
-- it removes nothing, so that no statement runs for hours.
--
-- One statement: Rows that are locked are skipped, not waited for. A tombstone is kept for at least an
--   hour, so that an append that was sent before the delete cannot create the session again. The removed
--   messages are deleted by their place in the table (ctid), which cannot change while they are locked.
-- Index: sessions_listed and removed_messages_by_age, forwards; sessions_pkey.
-- Rows locked: the removed rows, until the commit. Waits for no row of session-dal's tables.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the purged tombstones, at most 17 buffers each;
--   WAL O(n) in the purged tombstones, at most 120 WAL bytes each;
--   buffers O(n) in the purged messages, at most 5 buffers each;
--   WAL O(n) in the purged messages, at most 120 WAL bytes each;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of removed_messages FOR UPDATE
-- Never: Seq Scan
-- Repeat: not safe: the counts of what was removed would be lost. Call it again for the remaining rows.
-- Returns: Purged; how many rows were removed, in one row; never no row.
WITH tombstone AS MATERIALIZED (
    SELECT s.session_id
    FROM sessions AS s
    WHERE
        s.status = 'deleted'
        AND s.status <> ''
        AND s.listed_at < least(:before::timestamptz, statement_timestamp() - interval '1 hour')
    ORDER BY s.listed_at, s.session_id
    LIMIT :limit::bigint
    FOR UPDATE SKIP LOCKED
),

old AS MATERIALIZED (
    SELECT r.ctid AS place
    FROM removed_messages AS r
    WHERE r.removed_at < :before::timestamptz
    ORDER BY r.removed_at
    LIMIT :limit::bigint
    FOR UPDATE SKIP LOCKED
),

purged_tombstones AS (
    DELETE FROM sessions AS s
    WHERE s.session_id = any(array(SELECT t.session_id FROM tombstone AS t))
    RETURNING s.session_id
),

purged_messages AS (
    DELETE FROM removed_messages AS r
    WHERE r.ctid = any(array(SELECT o.place FROM old AS o))
    RETURNING r.session_id
)

SELECT
    (
        SELECT count(*)
        FROM purged_tombstones
    ) AS tombstones,
    (
        SELECT count(*)
        FROM purged_messages
    ) AS removed_messages;
