-- name: position(session_id, owner)^
-- Read how far a session is: its next number, and its revision. Both only rise.
--
-- One statement: One index lookup. A read from a standby sends it before its own statement, in the same round
--   trip: what that one returns is at least as new. With `owner`, another user's session behaves as if it did
--   not exist.
-- Index: sessions_pkey.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 6 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: AccessShare on sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: Position; no row if the session is not stored.
SELECT
    s.next_sequence,
    s.revision
FROM sessions AS s
WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text);
