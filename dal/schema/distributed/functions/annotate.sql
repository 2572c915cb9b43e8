-- Merge keys into a message's metadata.
--
-- Why it is safe: It locks the session's row first, as an append does. Each later statement sees what was committed
--   before that, so no concurrent merge is lost. If nothing would change, nothing is written. The change is recorded
--   for an hour, so a repeated call changes nothing more.
-- Locks: the session's row, until the commit, then the message's.
CREATE OR REPLACE FUNCTION dal_annotate(
    _session_id text, _message_id text, _metadata jsonb, _change_id text, _owner text
) RETURNS TABLE (
    session_id text, sequence bigint, message_id text, role text, agent_id text, content text, metadata jsonb,
    created_at timestamptz
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _hour_ago constant timestamptz := _now - interval '1 hour';
    _message messages;
    _wanted jsonb;
    _revision bigint;
BEGIN
    SELECT s.revision
    INTO _revision
    FROM sessions AS s
    WHERE
        s.session_id = _session_id
        AND s.status NOT IN ('trashed', 'deleted')
        AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT m.* INTO _message FROM messages AS m WHERE m.session_id = _session_id AND m.message_id = _message_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    _wanted := _message.metadata || _metadata;
    IF _wanted::text <> _message.metadata::text
        AND NOT EXISTS (SELECT FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id)
    THEN
        _message.metadata := _wanted;
        UPDATE messages AS m SET metadata = _wanted
        WHERE m.session_id = _session_id AND m.sequence = _message.sequence;
        UPDATE sessions AS s SET revision = _revision + 1 WHERE s.session_id = _session_id;
        INSERT INTO changes AS c (
            session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
        )
        VALUES (
            _session_id, _change_id, _revision + 1, 'annotate', _message.sequence, _message.sequence, 1, _now
        );
        DELETE FROM changes AS c
        USING (
            SELECT o.change_id FROM changes AS o WHERE o.session_id = _session_id ORDER BY o.change_id LIMIT 2
        ) AS oldest
        WHERE c.session_id = _session_id AND c.change_id = oldest.change_id AND c.changed_at < _hour_ago;
    END IF;
    RETURN QUERY
    SELECT
        _session_id, _message.sequence, _message.message_id::text, _message.role::text, _message.agent_id::text,
        _message.content, _message.metadata::jsonb, _message.created_at;
END
$$;
