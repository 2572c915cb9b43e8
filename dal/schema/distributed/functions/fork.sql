-- Create a session with the messages of another one before a sequence number.
--
-- It runs on the node that the client is connected to, since the two sessions may be on different workers. Citus
-- commits on both, or on none.
-- Why it is safe: One statement reads the parent's counters, and a later one copies its messages. Messages that are
--   appended in between are not copied, since their numbers are higher. Any other change in between raises the parent's
--   revision: the call then fails with 40001, and is safe to repeat.
-- Locks: the parent's row FOR KEY SHARE, until the commit, which blocks no append or removal.
CREATE OR REPLACE FUNCTION dal_fork(
    _parent_id text, _fork_id text, _fork_point bigint, _metadata jsonb, _owner text
) RETURNS TABLE (
    session_id text, source text, user_id text, parent_id text, status text, next_sequence bigint,
    message_count bigint, agent_ids text[], metadata jsonb, created_at timestamptz, updated_at timestamptz,
    archived_at timestamptz, revision bigint, fork_point bigint
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _parent record;
    _end bigint;
    _moment timestamptz;
BEGIN
    PERFORM
    FROM sessions AS s
    WHERE
        s.session_id = _parent_id
        AND s.status IN ('active', 'paused', 'archived')
        AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT s.*, c.messages
    INTO _parent
    FROM sessions AS s
    CROSS JOIN (
        SELECT count(*) AS messages
        FROM messages AS m
        WHERE m.session_id = _parent_id AND m.sequence < _fork_point
    ) AS c
    WHERE s.session_id = _parent_id;
    _end := least(_fork_point, _parent.next_sequence);
    _moment := CASE
        WHEN _parent.updated_at > _now + interval '1 hour' THEN _now ELSE greatest(_parent.updated_at, _now)
    END;
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, fork_point, metadata, next_sequence, message_count,
        created_at, updated_at, listed_at
    )
    VALUES (
        _fork_id, _parent.source, _parent.user_id, _parent_id, _end, _metadata, _end, _parent.messages, _now, _moment, _now
    )
    ON CONFLICT (session_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO messages AS f (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
    SELECT
        _fork_id,
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at
    FROM messages AS m
    WHERE m.session_id = _parent_id AND m.sequence < _end;
    PERFORM FROM sessions AS s WHERE s.session_id = _parent_id AND s.revision = _parent.revision;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another transaction changed the parent while its messages were copied'
        USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN QUERY
    SELECT
        s.session_id, s.source::text, s.user_id::text, s.parent_id::text, s.status::text, s.next_sequence,
        s.message_count, s.agent_ids, s.metadata::jsonb, s.created_at, s.updated_at, s.archived_at, s.revision,
        s.fork_point
    FROM sessions AS s
    WHERE s.session_id = _fork_id;
END
$$;
