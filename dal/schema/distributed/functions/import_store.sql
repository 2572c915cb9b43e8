-- Store the messages of a batch of an import, in the sessions that dal_import_take has created or locked. It does the
-- same as dal/histories/store.sql.
--
-- It runs on the node that the client is connected to, which has the temporary tables of the batch.
-- Why it is safe: The sessions are locked, so nothing that it reads of them can change. One insert stores all messages.
--   Each existing session takes two more statements: one finds its messages that are stored already, and one updates
--   its counters.
-- Locks: only the rows that dal_import_take has locked already.
CREATE OR REPLACE FUNCTION dal_import_store() RETURNS TABLE (
    sessions bigint, messages bigint, already_there bigint, refused text[], reasons text[],
    sessions_known_to_planner real, messages_known_to_planner real
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _now constant timestamptz := transaction_timestamp();
    _ids text[];
    _one record;
BEGIN
    SELECT array_agg(i.session_id) INTO _ids FROM pg_temp.dal_import_sessions AS i WHERE NOT i.is_new;
    CREATE TEMPORARY TABLE dal_import_state ON COMMIT DROP AS
    SELECT
        s.session_id,
        s.next_sequence,
        s.updated_at,
        s.status,
        s.user_id
    FROM sessions AS s
    WHERE s.session_id = any(_ids);

    -- The messages of the file that are stored already.
    CREATE TEMPORARY TABLE dal_import_there (session_id text, sequence bigint, is_same boolean) ON COMMIT DROP;
    FOR _one IN
        SELECT g.session_id, array_agg(g.message_id) AS message_ids
        FROM pg_temp.dal_import_messages AS g
        INNER JOIN pg_temp.dal_import_state AS t ON g.session_id = t.session_id
        GROUP BY g.session_id
    LOOP
        INSERT INTO pg_temp.dal_import_there
        SELECT
            g.session_id,
            g.sequence,
            (
                m.role = g.role
                AND m.agent_id IS NOT DISTINCT FROM g.agent_id
                AND m.content = g.content
                AND m.metadata || g.metadata = m.metadata
            )
        FROM (
            SELECT o.message_id, o.role, o.agent_id, o.content, o.metadata
            FROM messages AS o
            WHERE o.session_id = _one.session_id AND o.message_id = any(_one.message_ids)
        ) AS m
        INNER JOIN (
            SELECT i.*
            FROM pg_temp.dal_import_messages AS i
            WHERE i.session_id = _one.session_id
        ) AS g ON m.message_id = g.message_id;
    END LOOP;

    CREATE TEMPORARY TABLE dal_import_missing ON COMMIT DROP AS
    SELECT
        g.session_id,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        t.next_sequence + row_number() OVER (PARTITION BY g.session_id ORDER BY g.sequence) - 1 AS sequence,
        greatest(t.updated_at, coalesce(g.created_at, _now)) AS created_at
    FROM pg_temp.dal_import_messages AS g
    INNER JOIN pg_temp.dal_import_state AS t ON g.session_id = t.session_id
    WHERE NOT EXISTS (
        SELECT FROM pg_temp.dal_import_there AS p
        WHERE p.session_id = g.session_id AND p.sequence = g.sequence
    );

    CREATE TEMPORARY TABLE dal_import_refused ON COMMIT DROP AS
    SELECT
        t.session_id,
        CASE
            WHEN o.is_anothers THEN 'owner' WHEN d.session_id IS NOT NULL THEN 'conflict' ELSE t.status::text
        END AS reason
    FROM pg_temp.dal_import_state AS t
    INNER JOIN (
        SELECT
            i.session_id,
            i.owner IS NOT NULL AND (s.user_id IS NULL OR s.user_id <> i.owner) AS is_anothers
        FROM pg_temp.dal_import_sessions AS i
        INNER JOIN pg_temp.dal_import_state AS s ON i.session_id = s.session_id
    ) AS o ON t.session_id = o.session_id
    LEFT JOIN (
        SELECT DISTINCT p.session_id
        FROM pg_temp.dal_import_there AS p
        WHERE NOT p.is_same
    ) AS d ON t.session_id = d.session_id
    LEFT JOIN (
        SELECT DISTINCT m.session_id
        FROM pg_temp.dal_import_missing AS m
    ) AS c ON t.session_id = c.session_id
    WHERE
        o.is_anothers
        OR d.session_id IS NOT NULL
        OR (t.status NOT IN ('active', 'paused') AND c.session_id IS NOT NULL)
        OR t.status = 'deleted';
    DELETE FROM pg_temp.dal_import_missing AS m
    WHERE m.session_id IN (SELECT r.session_id FROM pg_temp.dal_import_refused AS r);

    -- Citus copies the rows to the shards, and reports a duplicate key of a copy as an internal error.
    SELECT d.session_id, d.message_id
    INTO _one
    FROM (
        SELECT g.session_id, g.message_id
        FROM pg_temp.dal_import_messages AS g
        INNER JOIN pg_temp.dal_import_sessions AS i ON g.session_id = i.session_id
        WHERE i.is_new
        UNION ALL
        SELECT g.session_id, g.message_id
        FROM pg_temp.dal_import_missing AS g
    ) AS d
    GROUP BY d.session_id, d.message_id
    HAVING count(*) > 1
    LIMIT 1;
    IF FOUND THEN
        RAISE unique_violation USING
            MESSAGE = 'duplicate key value violates unique constraint "messages_message_id_key"',
            DETAIL = format('Key (session_id, message_id)=(%s, %s) already exists.', _one.session_id, _one.message_id),
            CONSTRAINT = 'messages_message_id_key';
    END IF;

    INSERT INTO messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
    SELECT
        g.session_id,
        g.sequence,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        coalesce(g.created_at, _now)
    FROM pg_temp.dal_import_messages AS g
    INNER JOIN pg_temp.dal_import_sessions AS i ON g.session_id = i.session_id
    WHERE i.is_new
    UNION ALL
    SELECT
        g.session_id,
        g.sequence,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.created_at
    FROM pg_temp.dal_import_missing AS g;
    GET DIAGNOSTICS messages = ROW_COUNT;

    FOR _one IN
        SELECT m.session_id, count(*) AS messages, max(m.created_at) AS updated_at
        FROM pg_temp.dal_import_missing AS m
        GROUP BY m.session_id
    LOOP
        UPDATE sessions AS s SET
            next_sequence = s.next_sequence + _one.messages,
            message_count = s.message_count + _one.messages,
            updated_at = greatest(s.updated_at, _one.updated_at),
            listed_at = greatest(s.listed_at, least(_one.updated_at, _now))
        WHERE s.session_id = _one.session_id;
    END LOOP;

    -- dal_import_take inserts every session as active, since a service's role may not insert these columns.
    IF EXISTS (SELECT FROM pg_temp.dal_import_sessions AS i WHERE i.is_new AND i.status <> 'active') THEN
        UPDATE sessions AS s SET
            status = i.status,
            archived_at = i.archived_at,
            trashed_from = i.trashed_from,
            agent_ids = i.agent_ids
        FROM (
            SELECT e.session_id, e.status, e.archived_at, e.trashed_from, e.agent_ids
            FROM pg_temp.dal_import_sessions AS e
            WHERE e.is_new AND e.status <> 'active'
        ) AS i
        WHERE s.session_id = i.session_id;
    END IF;

    SELECT count(*) INTO sessions FROM pg_temp.dal_import_sessions AS i WHERE i.is_new;
    SELECT count(*)
    INTO already_there
    FROM pg_temp.dal_import_there AS p
    WHERE
        p.is_same
        AND p.session_id NOT IN (SELECT r.session_id FROM pg_temp.dal_import_refused AS r WHERE r.reason = 'owner');
    SELECT
        coalesce(array_agg(r.session_id ORDER BY r.session_id COLLATE "C"), '{}'),
        coalesce(array_agg(r.reason ORDER BY r.session_id COLLATE "C"), '{}')
    INTO refused, reasons
    FROM pg_temp.dal_import_refused AS r;
    -- The planner's statistics are those of the shards, which autovacuum updates on their nodes: no ANALYZE is due here.
    sessions_known_to_planner := 'infinity';
    messages_known_to_planner := 'infinity';
    DROP TABLE
        pg_temp.dal_import_state, pg_temp.dal_import_there, pg_temp.dal_import_missing, pg_temp.dal_import_refused;
    RETURN NEXT;
END
$$;
