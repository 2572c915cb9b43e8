-- Store new sessions and lock existing ones, in the order of their ids, as append_all does, so that the two cannot
-- deadlock. This is a separate statement, so that the next one sees the commits that this one waited for. The update
-- with WHERE false changes nothing; it only locks the row. Times in the future stay as they are, but the session's place
-- in lists is the present at the latest.
WITH stored AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at
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
        least(i.updated_at, transaction_timestamp())
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
