-- name: count_messages(session_id)^
-- The usual way, for comparison; the library never sends it. The second statement of an append: count the messages
-- to number the next one, so that each append reads all earlier messages.
SELECT count(*) AS messages
FROM messages AS m
WHERE m.session_id = :session_id::text;
