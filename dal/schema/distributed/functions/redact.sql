-- Overwrite a message's content and clear its metadata, in its removed versions too.
--
-- Why it is safe: It locks the session's row first, as appends and removals do. So the message cannot be removed
--   meanwhile, and each later statement finds it where it is. If nothing would change, nothing is written. The change
--   is recorded for an hour, so a repeated call changes nothing more.
-- Locks: the session's row, until the commit, then the message's and those of its removed versions.
CREATE OR REPLACE FUNCTION dal_redact(
    _session_id text, _message_id text, _content text, _change_id text, _owner text
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
    _revision bigint;
    _number bigint;
    _redacted bigint[] := '{}';
    _first bigint;
    _last bigint;
BEGIN
    SELECT s.revision
    INTO _revision
    FROM sessions AS s
    WHERE s.session_id = _session_id AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF NOT EXISTS (SELECT FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id) THEN
        FOR _number IN
            UPDATE messages AS m SET content = _content, metadata = '{}'
            WHERE
                m.session_id = _session_id
                AND m.message_id = _message_id
                AND (m.content <> _content OR m.metadata <> '{}')
            RETURNING m.sequence
        LOOP
            _redacted := _redacted || _number;
        END LOOP;
        FOR _number IN
            UPDATE removed_messages AS m SET content = _content, metadata = '{}'
            WHERE
                m.session_id = _session_id
                AND m.message_id = _message_id
                AND (m.content <> _content OR m.metadata <> '{}')
            RETURNING m.sequence
        LOOP
            _redacted := _redacted || _number;
        END LOOP;
    END IF;
    IF cardinality(_redacted) > 0 THEN
        SELECT min(r.number), max(r.number) INTO _first, _last FROM unnest(_redacted) AS r (number);
        UPDATE sessions AS s SET revision = _revision + 1 WHERE s.session_id = _session_id;
        INSERT INTO changes AS c (
            session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
        )
        VALUES (
            _session_id,
            _change_id,
            _revision + 1,
            'redact',
            _first,
            _last,
            cardinality(_redacted),
            _now
        );
        DELETE FROM changes AS c
        USING (
            SELECT o.change_id FROM changes AS o WHERE o.session_id = _session_id ORDER BY o.change_id LIMIT 2
        ) AS oldest
        WHERE c.session_id = _session_id AND c.change_id = oldest.change_id AND c.changed_at < _hour_ago;
    END IF;

    RETURN QUERY
    SELECT m.session_id, m.sequence, m.message_id::text, m.role::text, m.agent_id::text, m.content, m.metadata::jsonb,
        m.created_at
    FROM messages AS m
    WHERE m.session_id = _session_id AND m.message_id = _message_id;
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content, m.metadata, m.created_at
        FROM removed_messages AS m
        WHERE m.session_id = _session_id AND m.message_id = _message_id
        ORDER BY m.sequence DESC
        LIMIT 1;
    END IF;
END
$$;
