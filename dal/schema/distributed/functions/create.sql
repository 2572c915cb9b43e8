-- Store a session without a message. With `_again`, begin another session with the id of a deleted one; its numbers
-- continue.
--
-- Why it is safe: With `_again`, the tombstone is deleted, and so locked, before the session is inserted with its
--   counters. If two of these calls run at the same time, the second waits for the first. It then stores nothing, and
--   returns the session that the first one stored.
-- Locks: the session's row, until the commit.
CREATE OR REPLACE FUNCTION dal_create(
    _session_id text, _source text, _user_id text, _parent_id text, _session_metadata jsonb, _again boolean, _owner text
) RETURNS TABLE (
    session_id text, source text, user_id text, parent_id text, status text, next_sequence bigint,
    message_count bigint, agent_ids text[], metadata jsonb, created_at timestamptz, updated_at timestamptz,
    archived_at timestamptz, revision bigint, fork_point bigint, is_same boolean
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _next bigint := 0;
    _revision bigint := 0;
    _moment timestamptz := _now;
BEGIN
    IF _again THEN
        DELETE FROM sessions AS s
        WHERE s.session_id = _session_id AND s.status = 'deleted'
        RETURNING s.next_sequence, s.revision + 1, s.updated_at INTO _next, _revision, _moment;
        IF FOUND THEN
            _moment := CASE WHEN _moment > _hour_ahead THEN _now ELSE greatest(_moment, _now) END;
        ELSE
            _next := 0;
            _revision := 0;
            _moment := _now;
        END IF;
    END IF;
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count, revision,
        created_at, updated_at, listed_at
    )
    VALUES (
        _session_id, _source, _user_id, _parent_id, _session_metadata, _next, 0, _revision, _now, _moment, _now
    )
    ON CONFLICT (session_id) DO NOTHING;
    is_same := FOUND;
    RETURN QUERY
    SELECT
        s.session_id,
        s.source::text,
        s.user_id::text,
        s.parent_id::text,
        s.status::text,
        s.next_sequence,
        s.message_count,
        s.agent_ids,
        s.metadata::jsonb,
        s.created_at,
        s.updated_at,
        s.archived_at,
        s.revision,
        s.fork_point,
        dal_create.is_same
        OR (
            s.source IS NOT DISTINCT FROM _source
            AND s.user_id IS NOT DISTINCT FROM _user_id
            AND s.parent_id IS NOT DISTINCT FROM _parent_id
            AND s.metadata = _session_metadata
        )
    FROM sessions AS s
    WHERE
        s.session_id = _session_id
        AND s.status <> 'deleted'
        AND (dal_create.is_same OR _owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner);
END
$$;
