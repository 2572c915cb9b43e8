-- name: select_session(session_id)^
-- The usual way, for comparison; the library never sends it. The first statement of an append: check that the session
-- exists, and that it is not archived.
SELECT
    s.session_id,
    s.status
FROM sessions AS s
WHERE s.session_id = :session_id::text;
