-- Take the next `_messages` numbers of a session, for dal_append and dal_append_all. Return the number after them, and the
-- time of the messages; no row if the session does not accept messages. A session that does not exist is created,
-- unless `_must_exist` is set.
--
-- Why it is safe: The update of the session's row takes the numbers and locks the row in one step, as in
--   queries/messages/append.sql. If there is no row, the insert creates it. If another transaction is creating it at
--   the same time, the insert waits for that one, and the second round finds its row.
-- Locks: the session's row, until the commit.
-- It uses the search_path of the function that calls it, since setting it again would take time.
-- The times are computed first, since Citus accepts only immutable functions in the SET of an update.
CREATE OR REPLACE FUNCTION dal_take_numbers(
    _id text, _source text, _user_id text, _parent_id text, _session_metadata jsonb, _messages bigint, _owner text,
    _if_next bigint, _must_exist boolean, _session_changes jsonb
) RETURNS TABLE (next_sequence bigint, updated_at timestamptz)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _minute_ago constant timestamptz := _now - interval '1 minute';
    _hour_ahead constant timestamptz := _now + interval '1 hour';
BEGIN
    FOR _round IN 1..2 LOOP
        UPDATE sessions AS s SET
            next_sequence = s.next_sequence + _messages,
            message_count = s.message_count + _messages,
            updated_at = CASE WHEN s.updated_at > _hour_ahead THEN _now ELSE greatest(s.updated_at, _now) END,
            listed_at = CASE
                WHEN s.listed_at > _minute_ago AND s.listed_at < _hour_ahead THEN s.listed_at ELSE _now
            END,
            metadata = CASE
                WHEN _session_changes IS NULL THEN s.metadata ELSE (s.metadata || _session_changes)::dal_object
            END
        WHERE
            s.session_id = _id
            AND s.status IN ('active', 'paused')
            AND (_owner IS NULL OR s.user_id = _owner)
            AND (_if_next IS NULL OR s.next_sequence = _if_next)
        RETURNING s.next_sequence, s.updated_at INTO next_sequence, updated_at;
        EXIT WHEN FOUND;
        IF _must_exist OR _round = 2 THEN
            RETURN;
        END IF;
        INSERT INTO sessions AS s (
            session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
            created_at, updated_at, listed_at
        )
        VALUES (
            _id, _source, _user_id, _parent_id, _session_metadata, _messages, _messages, _now, _now, _now
        )
        ON CONFLICT (session_id) DO NOTHING
        RETURNING s.next_sequence, s.updated_at INTO next_sequence, updated_at;
        EXIT WHEN FOUND;
    END LOOP;
    RETURN NEXT;
END
$$;
