-- Delete sessions that have been idle since a given time, of one user or of all: the longest idle first, at most
-- `_limit`, with at most `_message_limit` messages unless that is null. Each leaves a tombstone. If none could be
-- deleted, it returns the first one, with its next_sequence if it has more than `_message_limit` messages.
--
-- It runs on the node that the client is connected to. Each session takes three or four statements on its worker. Citus
-- commits on all workers, or on none.
-- Why it is safe: Each session is locked, and checked again, before it is deleted. If `_patience` is not null and a
--   message of the session is locked, the call fails at once with 55P03 and deletes nothing. It cannot wait for that
--   long, since Citus sends no lock_timeout to workers. A role that may not update messages cannot test for these
--   locks, so it waits for them.
-- Locks: the deleted rows, until the commit. It skips a row of sessions that is locked.
CREATE OR REPLACE FUNCTION dal_delete_idle(
    _user_id text, _idle_since timestamptz, _statuses text[], _passed_over bigint, _limit bigint, _message_limit bigint,
    _patience text
) RETURNS TABLE (session_id text, is_deleted boolean, next_sequence bigint)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _hour_ahead constant timestamptz := statement_timestamp() + interval '1 hour';
    _candidate record;
    _first record;
    _messages_so_far bigint := 0;
    _is_any boolean := false;
BEGIN
    FOR _candidate IN
        SELECT c.session_id, c.status, c.message_count, c.next_sequence
        FROM (
            (
                SELECT s.session_id, s.status, s.listed_at, s.message_count, s.next_sequence
                FROM sessions AS s
                WHERE
                    s.status = 'active'
                    AND s.status <> ''
                    AND 'active' = any(_statuses)
                    AND (_user_id IS NULL OR s.user_id = _user_id)
                    AND s.listed_at < _idle_since
                    AND CASE WHEN s.updated_at > _hour_ahead THEN s.listed_at ELSE s.updated_at END < _idle_since
                ORDER BY s.listed_at, s.session_id
                LIMIT _limit + _passed_over
            )
            UNION ALL
            (
                SELECT s.session_id, s.status, s.listed_at, s.message_count, s.next_sequence
                FROM sessions AS s
                WHERE
                    s.status = 'paused'
                    AND s.status <> ''
                    AND 'paused' = any(_statuses)
                    AND (_user_id IS NULL OR s.user_id = _user_id)
                    AND s.listed_at < _idle_since
                    AND CASE WHEN s.updated_at > _hour_ahead THEN s.listed_at ELSE s.updated_at END < _idle_since
                ORDER BY s.listed_at, s.session_id
                LIMIT _limit + _passed_over
            )
            UNION ALL
            (
                SELECT s.session_id, s.status, s.listed_at, s.message_count, s.next_sequence
                FROM sessions AS s
                WHERE
                    s.status = 'archived'
                    AND s.status <> ''
                    AND 'archived' = any(_statuses)
                    AND (_user_id IS NULL OR s.user_id = _user_id)
                    AND s.listed_at < _idle_since
                    AND CASE WHEN s.updated_at > _hour_ahead THEN s.listed_at ELSE s.updated_at END < _idle_since
                ORDER BY s.listed_at, s.session_id
                LIMIT _limit + _passed_over
            )
            UNION ALL
            (
                SELECT s.session_id, s.status, s.listed_at, s.message_count, s.next_sequence
                FROM sessions AS s
                WHERE
                    s.status = 'trashed'
                    AND s.status <> ''
                    AND 'trashed' = any(_statuses)
                    AND (_user_id IS NULL OR s.user_id = _user_id)
                    AND s.listed_at < _idle_since
                ORDER BY s.listed_at, s.session_id
                LIMIT _limit + _passed_over
            )
        ) AS c
        ORDER BY c.listed_at, c.session_id
        LIMIT _limit
        OFFSET _passed_over
    LOOP
        IF _first IS NULL THEN
            _first := _candidate;
        END IF;
        _messages_so_far := _messages_so_far + _candidate.message_count;
        EXIT WHEN _messages_so_far > _message_limit;
        PERFORM
        FROM sessions AS s
        WHERE
            s.session_id = _candidate.session_id
            AND s.status = _candidate.status
            AND CASE WHEN s.status = 'trashed' OR s.updated_at > _hour_ahead THEN s.listed_at ELSE s.updated_at END
            < _idle_since
        FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            IF _patience IS NOT NULL AND has_any_column_privilege('messages', 'UPDATE') THEN
                PERFORM count(*)
                FROM (
                    SELECT m.sequence FROM messages AS m WHERE m.session_id = _candidate.session_id FOR UPDATE NOWAIT
                ) AS m;
            END IF;
            _is_any := true;
            RETURN QUERY SELECT d.session_id, true, NULL::bigint FROM dal_delete(_candidate.session_id, NULL) AS d;
        END IF;
    END LOOP;
    IF NOT _is_any AND _first IS NOT NULL THEN
        session_id := _first.session_id;
        is_deleted := false;
        next_sequence := CASE WHEN _first.message_count > _message_limit THEN _first.next_sequence END;
        RETURN NEXT;
    END IF;
    -- Last, so that the next call finds those whose place was in the future, as the plain statement does.
    PERFORM FROM dal_relist(_user_id, _statuses, _limit);
END
$$;
