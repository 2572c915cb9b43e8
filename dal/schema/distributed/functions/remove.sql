-- Remove the messages from a sequence number on, or the last `_n` if `_sequence` is null. With `_returning`, return
-- one row for each of them, else one row. Each row has the number of removed messages.
--
-- Why it is safe: It reads the session's next number, then locks its row. Messages that were appended while it waited
--   for the lock have higher numbers, and stay. If the session was changed in another way meanwhile, nothing is
--   removed, and is_stale is true. The change is recorded for an hour, so a repeated call removes nothing more, and
--   finds the messages that were kept.
-- Locks: the session's row, until the commit, then the removed messages.
CREATE OR REPLACE FUNCTION dal_remove(
    _session_id text, _sequence bigint, _n bigint, _change_id text, _keep boolean, _if_next bigint, _owner text,
    _returning boolean
) RETURNS TABLE (
    messages bigint, is_refused boolean, is_stale boolean, session_id text, sequence bigint, message_id text,
    role text, agent_id text, content text, metadata jsonb, created_at timestamptz
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
    _seen sessions;
    _session sessions;
    _prior changes;
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
    SELECT c.* INTO _prior FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id;
    IF FOUND THEN
        messages := _prior.messages;
        IF _returning AND messages > 0 THEN
            RETURN QUERY
            SELECT _prior.messages, false, false, k.session_id, k.sequence, k.message_id, k.role, k.agent_id, k.content,
                k.metadata, k.created_at
            FROM removed_messages AS k
            WHERE
                k.session_id = _session_id
                AND k.sequence BETWEEN _prior.first_sequence AND _prior.last_sequence
                AND k.removed_at = _prior.changed_at
            ORDER BY k.sequence;
        END IF;
        IF NOT (_returning AND FOUND) THEN
            RETURN NEXT;
        END IF;
        RETURN;
    END IF;

    messages := 0;
    is_stale := _session.revision <> _seen.revision;
    is_refused := _session.status NOT IN ('active', 'paused')
        OR (_if_next IS NOT NULL AND _if_next <> _session.next_sequence);
    IF is_stale OR is_refused THEN
        RETURN NEXT;
        RETURN;
    END IF;
    _first := _sequence;
    IF _first IS NULL THEN
        SELECT min(l.sequence)
        INTO _first
        FROM (
            SELECT m.sequence
            FROM messages AS m
            WHERE m.session_id = _session_id AND m.sequence < _seen.next_sequence
            ORDER BY m.sequence DESC
            LIMIT _n
        ) AS l;
    END IF;
    SELECT count(*), min(m.sequence), max(m.sequence)
    INTO messages, _first, _last
    FROM messages AS m
    WHERE m.session_id = _session_id AND m.sequence >= _first AND m.sequence < _seen.next_sequence;
    IF messages = 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;

    IF _keep THEN
        INSERT INTO removed_messages AS k (
            session_id, sequence, message_id, role, agent_id, content, metadata, created_at, removed_at
        )
        SELECT m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content, m.metadata, m.created_at, _now
        FROM messages AS m
        WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last;
    END IF;
    IF _returning THEN
        RETURN QUERY
        SELECT dal_remove.messages, false, false, m.session_id, m.sequence, m.message_id::text, m.role::text,
            m.agent_id::text, m.content, m.metadata::jsonb, m.created_at
        FROM messages AS m
        WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last
        ORDER BY m.sequence;
    ELSE
        RETURN NEXT;
    END IF;
    DELETE FROM messages AS m WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last;
    UPDATE sessions AS s SET
        message_count = _session.message_count - dal_remove.messages,
        revision = _session.revision + 1,
        updated_at = CASE
            WHEN _session.updated_at > _hour_ahead THEN _now ELSE greatest(_session.updated_at, _now)
        END,
        listed_at = CASE
            WHEN
                _session.listed_at > _minute_ago AND _session.listed_at < _hour_ahead
                THEN _session.listed_at
            ELSE _now
        END
    WHERE s.session_id = _session_id;
    INSERT INTO changes AS c (
        session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
    )
    VALUES (_session_id, _change_id, _session.revision + 1, 'remove', _first, _last, dal_remove.messages, _now);
    DELETE FROM changes AS c WHERE c.session_id = _session_id AND c.changed_at < _hour_ago;
END
$$;
