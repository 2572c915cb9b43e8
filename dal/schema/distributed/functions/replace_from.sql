-- Remove the messages from a sequence number on, and append others in their place.
--
-- Why it is safe: It locks the session's row as dal_remove does, and then removes and appends in the same transaction.
--   If the session was changed by anything but an append while this call waited for the lock, nothing changes, and
--   is_stale is true. If a message that stays has one of the given ids, nothing changes. The change is recorded for an
--   hour, so a repeated call changes nothing more, and finds the new messages by their ids.
-- Locks: the session's row, until the commit, then the removed messages.
CREATE OR REPLACE FUNCTION dal_replace_from(
    _session_id text, _sequence bigint, _change_id text, _keep boolean, _if_next bigint, _session_changes jsonb,
    _message_ids text[], _roles text[], _agent_ids text[], _contents text[], _metadata jsonb[], _owner text
) RETURNS TABLE (
    is_refused boolean, is_stale boolean, place bigint, sequence bigint, created_at timestamptz, is_same boolean
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _minute_ago constant timestamptz := _now - interval '1 minute';
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _hour_ago constant timestamptz := _now - interval '1 hour';
    _given constant bigint := cardinality(_message_ids);
    _seen sessions;
    _session sessions;
    _moment timestamptz;
    _is_repeated boolean;
    _removed bigint;
    _first bigint;
    _last bigint;
BEGIN
    is_refused := false;
    is_stale := false;
    SELECT s.*
    INTO _seen
    FROM sessions AS s
    WHERE s.session_id = _session_id AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT s.* INTO _session FROM sessions AS s WHERE s.session_id = _session_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN; -- It was deleted while this call waited for the lock.
    END IF;
    _is_repeated := EXISTS (SELECT FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id);
    IF NOT _is_repeated THEN
        is_stale := _session.revision <> _seen.revision;
        is_refused := _session.status NOT IN ('active', 'paused')
            OR (_if_next IS NOT NULL AND _if_next <> _session.next_sequence);
    END IF;

    -- The given messages that are stored already, and stay. If this is a repetition, they are its outcome.
    RETURN QUERY
    SELECT
        dal_replace_from.is_refused,
        dal_replace_from.is_stale,
        array_position(_message_ids, m.message_id::text)::bigint,
        m.sequence,
        m.created_at,
        _is_repeated
    FROM messages AS m
    WHERE
        m.session_id = _session_id
        AND m.message_id = any(_message_ids)
        AND (m.sequence < _sequence OR _is_repeated)
    ORDER BY 3;
    IF FOUND THEN
        RETURN;
    END IF;
    IF _is_repeated OR is_refused OR is_stale THEN
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT count(*), min(m.sequence), max(m.sequence)
    INTO _removed, _first, _last
    FROM messages AS m
    WHERE m.session_id = _session_id AND m.sequence >= _sequence AND m.sequence < _seen.next_sequence;
    IF _keep AND _removed > 0 THEN
        INSERT INTO removed_messages AS k (
            session_id, sequence, message_id, role, agent_id, content, metadata, created_at, removed_at
        )
        SELECT m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content, m.metadata, m.created_at, _now
        FROM messages AS m
        WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last;
    END IF;
    DELETE FROM messages AS m WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last;
    _moment := CASE
        WHEN _session.updated_at > _hour_ahead THEN _now ELSE greatest(_session.updated_at, _now)
    END;
    UPDATE sessions AS s SET
        next_sequence = _session.next_sequence + _given,
        message_count = _session.message_count - _removed + _given,
        revision = _session.revision + 1,
        updated_at = _moment,
        listed_at = CASE
            WHEN
                _session.listed_at > _minute_ago AND _session.listed_at < _hour_ahead
                THEN _session.listed_at
            ELSE _now
        END,
        metadata = _session.metadata || coalesce(_session_changes, '{}')
    WHERE s.session_id = _session_id;
    INSERT INTO messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
    SELECT
        _session_id,
        _session.next_sequence + g.position - 1,
        g.message_id,
        g.role,
        nullif(g.agent_id, ''),
        g.content,
        g.metadata,
        _moment
    FROM unnest(_message_ids, _roles, _agent_ids, _contents, _metadata) WITH ORDINALITY
    AS g (message_id, role, agent_id, content, metadata, position)
    ORDER BY g.position;
    INSERT INTO changes AS c (
        session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
    )
    VALUES (_session_id, _change_id, _session.revision + 1, 'replace', _first, _last, _removed, _now);
    DELETE FROM changes AS c WHERE c.session_id = _session_id AND c.changed_at < _hour_ago;

    RETURN QUERY
    SELECT false, false, g.position, _session.next_sequence + g.position - 1, _moment, true
    FROM generate_series(1, _given) AS g (position);
    IF _given = 0 THEN
        RETURN NEXT;
    END IF;
END
$$;
