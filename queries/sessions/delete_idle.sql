-- name: delete_idle(idle_since, statuses, passed_over, limit, message_limit, patience)
-- Delete sessions that have been idle since a given time, with their messages: the longest idle first, at most
-- `limit` sessions, and at most `message_limit` messages (null: no limit). Each deleted session leaves a
-- tombstone. Call it until it returns no row, so that no statement runs for long. If it returns a session that
-- it did not delete, skip that one by increasing `passed_over`; if its row has a next_sequence, you can instead
-- delete its messages first, with messages.delete_range in the same transaction.
--
-- One statement: It skips sessions that are being written to. It checks each session again under its lock, and
--   keeps one that was written to since the scan began. `patience` is a lock_timeout for the rest of the
--   transaction, or null. The statement never waits for rows of sessions. But another transaction may have
--   locked a row that is deleted with a session, for example in a table that references messages. Then the
--   statement fails with 55P03 and deletes nothing; the store halves `limit`, and finally skips that session
--   with `passed_over`. If nothing was deleted, the first session is in use, and the store skips it; or it has
--   more than `message_limit` messages, and the store deletes it by messages.delete_range and then this
--   statement, in one transaction. If a session's listed_at is more than an hour in the future, because a clock
--   was ahead, it is set to the present, and the idle time starts from there. If only updated_at is that far in
--   the future, as after an import, listed_at decides. A trashed session has been idle since it was trashed,
--   which is its listed_at.
-- Index: sessions_listed, forwards; sessions_pkey, and messages_pkey for the messages; the insert of
--   tombstones writes to sessions_pkey and sessions_listed.
-- Rows locked: the deleted rows, and the sessions whose listed_at it corrects, until the commit. It waits for
--   no row of sessions, so it cannot deadlock with an append.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the deleted sessions, at most 33 buffers each;
--   WAL O(n) in the deleted sessions, at most 575 WAL bytes each; at most 400 buffers; at most 80 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of messages, removed_messages, changes
-- Never: Seq Scan on messages
-- Repeat: not safe: the ids of the deleted sessions would be lost. Call it again for the remaining ones.
-- Returns: IdleSession; no row if no session has been idle for that long. Otherwise the deleted
--   sessions; if none could be deleted, the first one, with its next_sequence if it has more than `message_limit`
--   messages.
WITH patience AS (
    SELECT CASE WHEN :patience::text IS NOT NULL THEN set_config('lock_timeout', :patience::text, true) END AS set_to
),

ahead AS (
    SELECT a.session_id
    FROM unnest((SELECT :statuses::text[])) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.status <> ''
            AND s.listed_at > statement_timestamp() + interval '1 hour'
        ORDER BY s.listed_at DESC
        LIMIT :limit::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
),

relisted AS (
    UPDATE sessions AS s SET
        listed_at = statement_timestamp(),
        updated_at = least(s.updated_at, statement_timestamp())
    WHERE s.session_id = any(array(SELECT a.session_id FROM ahead AS a))
),

candidate AS (
    SELECT
        w.session_id,
        w.status,
        w.listed_at,
        w.message_count,
        w.next_sequence,
        (
            :message_limit::bigint IS NULL
            OR sum(w.message_count) OVER (ORDER BY w.listed_at, w.session_id) <= :message_limit::bigint
        ) AS fits
    FROM (
        SELECT
            c.session_id,
            c.status,
            c.listed_at,
            c.message_count,
            c.next_sequence
        FROM unnest((SELECT :statuses::text[])) AS wanted (status)
        CROSS JOIN LATERAL (
            SELECT
                s.session_id,
                s.status,
                s.listed_at,
                s.message_count,
                s.next_sequence
            FROM sessions AS s
            WHERE
                s.status = wanted.status
                AND s.status <> ''
                AND s.listed_at < :idle_since::timestamptz
                AND CASE
                    WHEN s.status = 'trashed' OR s.updated_at > statement_timestamp() + interval '1 hour'
                        THEN s.listed_at
                    ELSE s.updated_at
                END < :idle_since::timestamptz
            ORDER BY s.listed_at, s.session_id
            LIMIT :limit::bigint + :passed_over::bigint
        ) AS c
        CROSS JOIN patience
        ORDER BY c.listed_at, c.session_id
        LIMIT :limit::bigint
        OFFSET :passed_over::bigint
    ) AS w
),

idle AS MATERIALIZED (
    SELECT i.session_id
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.session_id = c.session_id
            AND s.status = c.status
            AND CASE
                WHEN s.status = 'trashed' OR s.updated_at > statement_timestamp() + interval '1 hour' THEN s.listed_at
                ELSE s.updated_at
            END < :idle_since::timestamptz
        FOR UPDATE SKIP LOCKED
    ) AS i
    WHERE c.fits
),

deleted AS (
    DELETE FROM sessions AS s
    WHERE s.session_id = any(array(SELECT i.session_id FROM idle AS i))
    RETURNING s.session_id, s.next_sequence, s.revision, s.created_at, s.updated_at
),

tombstone AS (
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
    RETURNING t.session_id
)

SELECT
    t.session_id,
    true AS is_deleted,
    NULL::bigint AS next_sequence
FROM tombstone AS t
UNION ALL
(
    SELECT
        c.session_id,
        false AS is_deleted,
        CASE WHEN c.message_count > :message_limit::bigint THEN c.next_sequence END AS next_sequence
    FROM candidate AS c
    WHERE NOT EXISTS (SELECT FROM idle)
    ORDER BY c.listed_at, c.session_id
    LIMIT 1
);
