-- name: changes(session_id, after, limit, owner)
-- Read the changes of a session after a revision, in order. Appends are not among them.
--
-- One statement: It reads all of the session's rows, which are those of about an hour, and sorts them. With
--   `owner`, another user's session behaves as if it did not exist.
-- Index: changes_pkey; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(n) in the session's changes, at most n/40;
--   buffers O(log n) in the user's sessions; at most 12 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on changes, sessions
-- Never: Seq Scan on sessions
-- Repeat: safe: it only reads.
-- Returns: Change; by revision; no row if nothing changed since, or if the session is not stored. If rows
--   are missing, the first one has a revision of more than after + 1.
SELECT
    c.revision,
    c.kind,
    c.first_sequence,
    c.last_sequence,
    c.messages,
    c.changed_at
FROM changes AS c
WHERE
    c.session_id = :session_id::text
    AND c.revision > :after::bigint
    AND (
        (SELECT :owner::text) IS NULL
        OR (SELECT :owner::text) = (
            SELECT o.user_id
            FROM sessions AS o
            WHERE o.session_id = :session_id::text
        )
    )
ORDER BY c.revision
LIMIT :limit::bigint;
