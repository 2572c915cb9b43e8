-- Remove keys from a session's metadata, then merge others into it.
--
-- Why it is safe: It locks the session's row first, so no concurrent change is lost. If nothing would change, nothing is
--   written. A trashed or deleted session stays as it is. The change is recorded for an hour, so a repeated call
--   changes nothing more.
-- Locks: the session's row, until the commit.
CREATE OR REPLACE FUNCTION dal_update_metadata(
    _session_id text, _metadata jsonb, _remove text[], _touch boolean, _change_id text, _owner text
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
    _minute_ago constant timestamptz := _now - interval '1 minute';
    _hour_ahead constant timestamptz := _now + interval '1 hour';
    _hour_ago constant timestamptz := _now - interval '1 hour';
    _session sessions;
    _wanted jsonb;
BEGIN
    SELECT s.*
    INTO _session
    FROM sessions AS s
    WHERE s.session_id = _session_id AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    _wanted := (_session.metadata - _remove) || _metadata;
    IF _session.status NOT IN ('trashed', 'deleted')
        AND _wanted::text <> _session.metadata::text
        AND NOT EXISTS (SELECT FROM changes AS c WHERE c.session_id = _session_id AND c.change_id = _change_id)
    THEN
        _session.metadata := _wanted;
        _session.revision := _session.revision + 1;
        IF _touch THEN
            _session.updated_at := CASE
                WHEN _session.updated_at > _hour_ahead THEN _now ELSE greatest(_session.updated_at, _now)
            END;
            _session.listed_at := CASE
                WHEN
                    _session.listed_at > _minute_ago AND _session.listed_at < _hour_ahead
                    THEN _session.listed_at
                ELSE _now
            END;
        END IF;
        UPDATE sessions AS s SET
            metadata = _session.metadata,
            revision = _session.revision,
            updated_at = _session.updated_at,
            listed_at = _session.listed_at
        WHERE s.session_id = _session_id;
        INSERT INTO changes AS c (session_id, change_id, revision, kind, changed_at)
        VALUES (_session_id, _change_id, _session.revision, 'metadata', _now);
        DELETE FROM changes AS c
        USING (
            SELECT o.change_id FROM changes AS o WHERE o.session_id = _session_id ORDER BY o.change_id LIMIT 2
        ) AS oldest
        WHERE c.session_id = _session_id AND c.change_id = oldest.change_id AND c.changed_at < _hour_ago;
    END IF;
    RETURN QUERY
    SELECT
        _session.session_id, _session.source::text, _session.user_id::text, _session.parent_id::text,
        _session.status::text, _session.next_sequence, _session.message_count, _session.agent_ids,
        _session.metadata::jsonb, _session.created_at, _session.updated_at, _session.archived_at, _session.revision,
        _session.fork_point;
END
$$;
