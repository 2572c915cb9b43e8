-- Delete at most `_limit` sessions of a user, with at most `_message_limit` messages unless that is null, and everything
-- else that is stored of them, and count what was deleted. If the first session has more messages, nothing is deleted.
--
-- It runs on the node that the client is connected to. Each session takes four statements on its worker. Citus
-- commits on all workers, or on none.
-- Why it is safe: Each session is locked before its messages are counted and deleted. The sessions are locked in the order
--   of shard and session_id, as in dal_append_all, so that the two cannot deadlock. No fork of a deleted session is
--   missed: before a fork releases its lock on the parent, it is prepared on all workers. So this call waits, after its
--   deletions, until the transactions that are prepared at this moment have ended. These wait for no lock, so this wait
--   cannot deadlock.
-- Locks: the deleted rows, until the commit. It waits for writers of these sessions.
CREATE OR REPLACE FUNCTION dal_erase_user(_user_id text, _limit bigint, _message_limit bigint) RETURNS TABLE (
    candidates bigint, sessions bigint, messages bigint, removed_messages bigint, forks text[], first_id text,
    next_sequence bigint
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _ids text[];
    _id text;
    _session_messages bigint;
    _removed bigint;
    _next text[] := '{}';
    _prepared text[];
BEGIN
    sessions := 0;
    messages := 0;
    removed_messages := 0;
    forks := '{}';
    SELECT
        count(*),
        coalesce(array_agg(c.session_id) FILTER (WHERE c.fits), '{}'),
        min(c.session_id) FILTER (WHERE c.place = 1),
        min(c.next_sequence) FILTER (WHERE c.place = 1 AND c.message_count > _message_limit)
    INTO candidates, _ids, first_id, next_sequence
    FROM (
        SELECT
            w.session_id,
            w.message_count,
            w.next_sequence,
            row_number() OVER in_order AS place,
            (_message_limit IS NULL OR sum(w.message_count) OVER in_order <= _message_limit) AS fits
        FROM (
            SELECT s.session_id, s.message_count, s.next_sequence, s.status, s.listed_at
            FROM sessions AS s
            WHERE s.user_id = _user_id
            ORDER BY s.status, s.listed_at, s.session_id
            LIMIT _limit
        ) AS w
        WINDOW in_order AS (ORDER BY w.status, w.listed_at, w.session_id)
    ) AS c;
    FOR _id IN
        SELECT u.id
        FROM unnest(_ids) AS u (id)
        ORDER BY get_shard_id_for_distribution_column('sessions', u.id), u.id COLLATE "C"
    LOOP
        SELECT s.message_count
        INTO _session_messages
        FROM sessions AS s
        WHERE s.session_id = _id AND s.user_id = _user_id
        FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        SELECT count(*) INTO _removed FROM removed_messages AS r WHERE r.session_id = _id;
        PERFORM FROM dal_delete(_id, NULL);
        sessions := sessions + 1;
        messages := messages + _session_messages;
        removed_messages := removed_messages + _removed;
        _next := _next || _id;
    END LOOP;

    WHILE sessions > 0 LOOP
        SELECT array_agg(p.gid)
        INTO _prepared
        FROM run_command_on_all_nodes(
            'SELECT coalesce(array_agg(p.gid), ''{}'') FROM pg_prepared_xacts AS p '
            'WHERE p.database = current_database() AND p.gid LIKE ''citus\_%'''
        ) AS n
        CROSS JOIN unnest(CASE WHEN n.success THEN n.result::text[] END) AS p (gid)
        WHERE _prepared IS NULL OR p.gid = any(_prepared);
        EXIT WHEN _prepared IS NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;

    -- The forks of the deleted sessions, then the forks of those, and so on.
    WHILE cardinality(_next) > 0 LOOP
        SELECT array_agg(s.session_id)
        INTO _next
        FROM sessions AS s
        WHERE
            s.parent_id = any(_next)
            AND s.fork_point IS NOT NULL
            AND s.user_id IS DISTINCT FROM _user_id
            AND s.session_id <> all(forks);
        forks := forks || coalesce(_next, '{}');
    END LOOP;
    SELECT coalesce(array_agg(f.id ORDER BY f.id COLLATE "C"), '{}') INTO forks FROM unnest(forks) AS f (id);
    RETURN NEXT;
END
$$;
