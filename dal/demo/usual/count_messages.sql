-- name: count_messages(session_id)^
-- How the field does it, for comparison; the library never sends it. The second statement of an append:
-- the messages are counted to number the next one, so every message reads all that came before it.
SELECT count(*) AS messages
FROM messages AS m
WHERE m.session_id = :session_id::text;
