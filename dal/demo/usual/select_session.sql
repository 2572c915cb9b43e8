-- name: select_session(session_id)^
-- How the field does it, for comparison; the library never sends it. The first statement of an append:
-- is the session there, and may it be written to?
SELECT
    s.session_id,
    s.status
FROM sessions AS s
WHERE s.session_id = :session_id::text;
