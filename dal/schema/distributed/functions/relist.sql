-- Move sessions whose place in lists is in the future to the present time: at most `_limit`, of one user or of all.
--
-- It runs on the node that the client is connected to.
-- Why it is safe: Each session is locked, and checked again, before it is changed.
-- Locks: the rows of these sessions, until the commit. It skips rows that are locked.
CREATE OR REPLACE FUNCTION dal_relist(_owner text, _statuses text[], _limit bigint) RETURNS TABLE (session_id text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := statement_timestamp();
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _status text;
    _id text;
    _updated_at timestamptz;
BEGIN
    FOREACH _status IN ARRAY _statuses LOOP
        FOR _id IN
            SELECT s.session_id
            FROM sessions AS s
            WHERE
                s.status = _status
                AND s.status <> ''
                AND s.listed_at > _hour_ahead
                AND (_owner IS NULL OR s.user_id = _owner)
            ORDER BY s.listed_at DESC, s.session_id DESC
            LIMIT _limit
        LOOP
            SELECT s.updated_at
            INTO _updated_at
            FROM sessions AS s
            WHERE s.session_id = _id AND s.status = _status AND s.listed_at > _hour_ahead
            FOR NO KEY UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            UPDATE sessions AS s SET listed_at = _now, updated_at = least(_updated_at, _now)
            WHERE s.session_id = _id;
            session_id := _id;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$$;
