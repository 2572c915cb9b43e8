-- Pause, resume, archive, trash or restore a session. `_kind` is the change: its name in `changes`.
--
-- Why it is safe: It locks the session's row first, so the status cannot change meanwhile. If the status does not allow
--   the change, it returns the row as it is. The change is recorded for an hour, so a repeated call changes nothing
--   more.
-- Locks: the session's row, until the commit.
CREATE OR REPLACE FUNCTION dal_change_status(
    _session_id text, _kind text, _change_id text, _if_next bigint, _owner text
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
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _hour_ago constant timestamptz := _now - interval '1 hour';
    _session sessions;
    _allowed boolean;
    _moment timestamptz;
BEGIN
    SELECT s.*
    INTO _session
    FROM sessions AS s
    WHERE s.session_id = _session_id AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    _allowed := CASE
        WHEN _kind = 'pause' THEN _session.status = 'active'
        WHEN _kind = 'resume' THEN _session.status = 'paused'
        WHEN _kind = 'archive' THEN _session.status IN ('active', 'paused')
        WHEN _kind = 'trash' THEN _session.status IN ('active', 'paused', 'archived')
        WHEN _kind = 'restore' THEN _session.status = 'trashed'
    END;
    IF _allowed
        AND (_if_next IS NULL OR _if_next = _session.next_sequence)
        AND NOT EXISTS (SELECT FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id)
    THEN
        _moment := CASE
            WHEN _session.updated_at > _hour_ahead THEN _now ELSE greatest(_session.updated_at, _now)
        END;
        _session.revision := _session.revision + 1;
        IF _kind = 'trash' THEN
            _session.trashed_from := _session.status;
            _session.status := 'trashed';
            _session.listed_at := _now;
        ELSIF _kind = 'restore' THEN
            _session.status := coalesce(_session.trashed_from, _session.status);
            _session.trashed_from := NULL;
            _session.listed_at := least(_session.updated_at, _now);
        ELSE
            _session.status := CASE
                WHEN _kind = 'pause' THEN 'paused' WHEN _kind = 'resume' THEN 'active' ELSE 'archived'
            END;
            _session.archived_at := CASE WHEN _kind = 'archive' THEN _moment ELSE _session.archived_at END;
            _session.trashed_from := NULL;
            _session.updated_at := _moment;
            _session.listed_at := _now;
        END IF;

        UPDATE sessions AS s SET
            status = _session.status,
            trashed_from = _session.trashed_from,
            archived_at = _session.archived_at,
            updated_at = _session.updated_at,
            listed_at = _session.listed_at,
            revision = _session.revision
        WHERE s.session_id = _session_id;
        INSERT INTO changes AS c (session_id, change_id, revision, kind, changed_at)
        VALUES (_session_id, _change_id, _session.revision, _kind, _now);
        DELETE FROM changes AS c WHERE c.session_id = _session_id AND c.changed_at < _hour_ago;
    END IF;
    RETURN QUERY
    SELECT
        _session.session_id, _session.source::text, _session.user_id::text, _session.parent_id::text,
        _session.status::text, _session.next_sequence, _session.message_count, _session.agent_ids,
        _session.metadata::jsonb, _session.created_at, _session.updated_at, _session.archived_at, _session.revision,
        _session.fork_point;
END
$$;
