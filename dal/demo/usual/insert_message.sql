-- name: insert_message(session_id, sequence, message_id, role, content)!
-- The usual way, for comparison; the library never sends it. The third statement of an append. Two appends at the
-- same time have counted the same messages, and one of them fails here.
INSERT INTO messages (session_id, sequence, message_id, role, content, metadata, created_at)
VALUES (
    :session_id::text,
    :sequence::bigint,
    :message_id::text,
    :role::text,
    :content::text,
    '{}',
    statement_timestamp()
);
