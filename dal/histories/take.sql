-- Create the sessions of a batch that do not exist, and lock those that do, in the same order as append_all: so
-- the two never deadlock. DO UPDATE … WHERE false locks a row without changing it. This is a statement of its own:
-- store.sql must see what other writers committed while this one waited for their locks. Times in the future are kept,
-- but listed_at is at most the present.
WITH stored AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at, revision, fork_point
    )
    SELECT
        i.session_id,
        i.source,
        i.user_id,
        i.parent_id,
        i.metadata,
        i.next_sequence,
        i.message_count,
        coalesce(i.created_at, transaction_timestamp()),
        coalesce(i.updated_at, transaction_timestamp()),
        least(i.updated_at, transaction_timestamp()),
        i.revision,
        i.fork_point
    FROM pg_temp.dal_import_sessions AS i
    ORDER BY i.session_id
    ON CONFLICT (session_id) DO UPDATE SET
        next_sequence = s.next_sequence
    WHERE false
    RETURNING s.session_id
)

UPDATE pg_temp.dal_import_sessions AS i SET is_new = true
FROM stored AS s
WHERE i.session_id = s.session_id;
