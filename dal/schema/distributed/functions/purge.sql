-- Remove old tombstones of deleted sessions, and old removed messages: at most `_limit` of each.
--
-- It runs on the node that the client is connected to. The tombstones take one statement for each shard, the removed
-- messages one for each session. Citus commits on all workers, or on none.
-- Why it is safe: A tombstone is kept for at least an hour, so that an append that was sent before the delete cannot create
--   the session again. Only create(again=True) replaces a tombstone by a session, which is not removed.
-- Locks: the removed rows, until the commit. It skips removed messages that are locked, but waits for a locked
--   tombstone. Two calls that remove tombstones wait for each other.
CREATE OR REPLACE FUNCTION dal_purge(_before timestamptz, _limit bigint) RETURNS TABLE (
    tombstones bigint, removed_messages bigint
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _listed_before constant timestamptz := least(_before, statement_timestamp() - interval '1 hour');
    _ids text[];
    _old record;
    _removed bigint;
BEGIN
    SELECT coalesce(array_agg(c.session_id), '{}')
    INTO _ids
    FROM (
        SELECT s.session_id
        FROM sessions AS s
        WHERE s.status = 'deleted' AND s.status <> '' AND s.listed_at < _listed_before
        ORDER BY s.listed_at, s.session_id
        LIMIT _limit
    ) AS c;
    tombstones := 0;
    removed_messages := 0;
    -- A deletion on several shards excludes other such deletions until the commit, even if it finds nothing.
    IF cardinality(_ids) > 0 THEN
        DELETE FROM sessions AS s
        WHERE s.session_id = any(_ids) AND s.status = 'deleted' AND s.listed_at < _listed_before;
        GET DIAGNOSTICS tombstones = ROW_COUNT;
    END IF;

    FOR _old IN
        SELECT c.session_id, array_agg(c.sequence) AS sequences
        FROM (
            SELECT r.session_id, r.sequence
            FROM removed_messages AS r
            WHERE r.removed_at < _before
            ORDER BY r.removed_at
            LIMIT _limit
        ) AS c
        GROUP BY c.session_id
    LOOP
        DELETE FROM removed_messages AS r
        WHERE
            r.session_id = _old.session_id
            AND r.sequence IN (
                SELECT l.sequence
                FROM removed_messages AS l
                WHERE l.session_id = _old.session_id AND l.sequence = any(_old.sequences) AND l.removed_at < _before
                FOR UPDATE SKIP LOCKED
            );
        GET DIAGNOSTICS _removed = ROW_COUNT;
        removed_messages := removed_messages + _removed;
    END LOOP;
    RETURN NEXT;
END
$$;
