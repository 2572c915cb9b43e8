-- Delete a session and all its messages. A tombstone is left, so that its id is not used again by accident.
--
-- Why it is safe: The foreign key deletes the messages with the session's row. The tombstone is inserted in the same
--   transaction, so an append that waited for the old row finds it, and is refused.
-- Locks: the session's row and its messages, until the commit.
CREATE OR REPLACE FUNCTION dal_delete(_session_id text, _owner text) RETURNS TABLE (session_id text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _session sessions;
BEGIN
    DELETE FROM sessions AS s
    WHERE
        s.session_id = _session_id
        AND s.status <> 'deleted'
        AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    RETURNING s.* INTO _session;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO sessions AS t (
        session_id, status, metadata, next_sequence, message_count, revision, created_at, updated_at, listed_at
    )
    VALUES (
        _session_id,
        'deleted',
        '{}',
        _session.next_sequence,
        0,
        _session.revision + 1,
        _session.created_at,
        CASE WHEN _session.updated_at > _hour_ahead THEN _now ELSE greatest(_session.updated_at, _now) END,
        _now
    );
    session_id := _session_id;
    RETURN NEXT;
END
$$;
