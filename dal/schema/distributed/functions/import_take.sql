-- Create the sessions of a batch of an import that do not exist, and lock those that do. It does the same as
-- dal/histories/take.sql.
--
-- It runs on the node that the client is connected to, which has the temporary tables of the batch.
-- Why it is safe: Like dal_append_all, it first creates the missing sessions and then locks the others, both in the order
--   of shard and session_id. So the two never deadlock. One statement creates those of a shard.
-- Locks: the sessions' rows, until the commit.
CREATE OR REPLACE FUNCTION dal_import_take() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := transaction_timestamp();
    _shard bigint;
    _id text;
    _new text[] := '{}';
BEGIN
    FOR _shard IN
        SELECT DISTINCT get_shard_id_for_distribution_column('sessions', i.session_id) AS shard
        FROM pg_temp.dal_import_sessions AS i
        ORDER BY shard
    LOOP
        FOR _id IN
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
                coalesce(i.created_at, _now),
                coalesce(i.updated_at, _now),
                least(i.updated_at, _now),
                i.revision,
                i.fork_point
            FROM pg_temp.dal_import_sessions AS i
            WHERE get_shard_id_for_distribution_column('sessions', i.session_id) = _shard
            ORDER BY i.session_id
            ON CONFLICT (session_id) DO NOTHING
            RETURNING s.session_id
        LOOP
            _new := _new || _id;
        END LOOP;
    END LOOP;
    UPDATE pg_temp.dal_import_sessions AS i SET is_new = true
    FROM unnest(_new) AS n (session_id)
    WHERE i.session_id = n.session_id;
    FOR _id IN
        SELECT i.session_id
        FROM pg_temp.dal_import_sessions AS i
        WHERE NOT i.is_new
        ORDER BY get_shard_id_for_distribution_column('sessions', i.session_id), i.session_id
    LOOP
        PERFORM FROM sessions AS s WHERE s.session_id = _id FOR NO KEY UPDATE;
    END LOOP;
END
$$;
