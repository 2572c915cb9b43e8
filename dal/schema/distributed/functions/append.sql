-- Append one message to a session. The first append creates the session.
--
-- Why it is safe: dal_take_numbers takes the number and locks the session's row in one step. If an equal append commits
--   after the first statement has looked for the message, the insert at the end meets that message, and the call fails
--   with 40001. It is safe to repeat, and then returns the outcome of the other append.
-- Locks: the session's row, until the commit.
CREATE OR REPLACE FUNCTION dal_append(
    _session_id text, _source text, _user_id text, _parent_id text, _session_metadata jsonb, _message_id text,
    _role text, _agent_id text, _content text, _metadata jsonb, _owner text, _if_next bigint, _must_exist boolean,
    _session_changes jsonb
) RETURNS TABLE (sequence bigint, created_at timestamptz, is_same boolean)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    SELECT
        m.sequence,
        m.created_at,
        (
            m.role = _role
            AND m.agent_id IS NOT DISTINCT FROM _agent_id
            AND m.content = _content
            AND m.metadata || _metadata = m.metadata
        )
    INTO sequence, created_at, is_same
    FROM messages AS m
    WHERE m.session_id = _session_id AND m.message_id = _message_id;
    IF FOUND THEN
        IF _owner IS NOT NULL THEN
            PERFORM FROM sessions AS s WHERE s.session_id = _session_id AND s.user_id = _owner;
        END IF;
        IF FOUND THEN
            RETURN NEXT;
        END IF;
        RETURN;
    END IF;

    SELECT t.next_sequence - 1, t.updated_at
    INTO sequence, created_at
    FROM dal_take_numbers(
        _session_id, _source, _user_id, _parent_id, _session_metadata, 1, _owner, _if_next, _must_exist, _session_changes
    ) AS t;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
    VALUES (_session_id, sequence, _message_id, _role, _agent_id, _content, _metadata, created_at)
    ON CONFLICT (session_id, message_id) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another transaction was storing the same message at this moment'
        USING ERRCODE = 'serialization_failure';
    END IF;
    is_same := true;
    RETURN NEXT;
END
$$;
