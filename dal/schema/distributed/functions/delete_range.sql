-- Delete the messages of a session with the numbers from `_first` to `_last`. It is a step in the deletion of the session,
-- which dal_delete_idle or dal_erase_user completes in the same transaction.
--
-- Why it is safe: The commit of that transaction deletes the session too. If `_patience` is not null and one of the
--   messages is locked, it fails at once with 55P03, as dal_delete_idle does.
-- Locks: the deleted messages, until the commit.
CREATE OR REPLACE FUNCTION dal_delete_range(
    _session_id text, _first bigint, _last bigint, _patience text
) RETURNS TABLE (messages bigint)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF _patience IS NOT NULL AND has_any_column_privilege('messages', 'UPDATE') THEN
        PERFORM count(*)
        FROM (
            SELECT m.sequence
            FROM messages AS m
            WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last
            FOR UPDATE NOWAIT
        ) AS m;
    END IF;
    DELETE FROM messages AS m
    WHERE m.session_id = _session_id AND m.sequence BETWEEN _first AND _last;
    GET DIAGNOSTICS messages = ROW_COUNT;
    RETURN NEXT;
END
$$;
