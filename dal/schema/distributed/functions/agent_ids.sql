-- List the agents that took part in each of the given sessions, in order of first appearance. With `_caching`, cache
-- the list of an archived session in its row.
--
-- The first argument is the first session's id, by which Citus chooses the worker that runs the function.
-- Why it is safe: Each session is read by one statement, as in queries/sessions/agent_ids.sql. A second statement
--   caches the list of an archived session. That list is final, so nothing can change it in between.
-- Locks: the row of an archived session without a cached list, until the commit. It skips a row that is locked.
CREATE OR REPLACE FUNCTION dal_agent_ids(
    _session_id text, _session_ids text[], _owner text, _caching boolean
) RETURNS TABLE (session_id text, agent_ids text[])
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _id text;
    _is_missing boolean;
BEGIN
    FOR _id IN SELECT DISTINCT g.id FROM unnest(_session_ids) AS g (id) ORDER BY g.id LOOP
        WITH RECURSIVE agent (agent_id, sequence) AS (
            (
                SELECT m.agent_id::text, m.sequence
                FROM messages AS m
                WHERE
                    m.session_id = _id
                    AND m.agent_id IS NOT NULL
                    AND EXISTS (SELECT FROM sessions AS c WHERE c.session_id = _id AND c.agent_ids IS NULL)
                ORDER BY m.agent_id, m.sequence
                LIMIT 1
            )
            UNION ALL
            SELECT m.agent_id, m.sequence
            FROM agent AS a
            CROSS JOIN LATERAL (
                SELECT m.agent_id::text, m.sequence
                FROM messages AS m
                WHERE m.session_id = _id AND m.agent_id > a.agent_id
                ORDER BY m.agent_id, m.sequence
                LIMIT 1
            ) AS m
        )

        SELECT
            s.status = 'archived' AND s.agent_ids IS NULL,
            coalesce(s.agent_ids, (SELECT array_agg(a.agent_id ORDER BY a.sequence) FROM agent AS a), '{}')
        INTO _is_missing, agent_ids
        FROM sessions AS s
        WHERE s.session_id = _id AND (_owner IS NULL OR s.user_id IS NOT DISTINCT FROM _owner);
        CONTINUE WHEN NOT FOUND;
        IF _caching AND _is_missing THEN
            PERFORM
            FROM sessions AS s
            WHERE s.session_id = _id AND s.agent_ids IS NULL
            FOR NO KEY UPDATE SKIP LOCKED;
            IF FOUND THEN
                UPDATE sessions AS s SET agent_ids = dal_agent_ids.agent_ids WHERE s.session_id = _id;
            END IF;
        END IF;
        session_id := _id;
        RETURN NEXT;
    END LOOP;
END
$$;
