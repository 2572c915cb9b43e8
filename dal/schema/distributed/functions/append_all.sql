-- Append messages to any number of sessions, in the given order. Sessions that do not exist are created.
-- All messages of a call are stored, or none of them.
--
-- The first argument is the first session's id, by which Citus chooses the worker that runs the function. The
-- others are those of queries/messages/append_all.sql.
-- Why it is safe: As dal_append, for several sessions and messages. If an equal append commits between the first
--   statement and the lock, the call fails with 40001; it is safe to repeat, and then finds the messages.
-- Locks: the sessions' rows, until the commit, one after the other in the given order. The store sorts them by
--   session_id, so that two of these calls never deadlock. One statement stores the messages of all sessions.
CREATE OR REPLACE FUNCTION dal_append_all(
    _session_id text, _session_ids text[], _sources text[], _user_ids text[], _parent_ids text[],
    _session_metadata jsonb[], _must_exist boolean[], _confined boolean, _patience text, _if_next bigint,
    _session_changes jsonb, _places bigint[], _calls bigint[], _message_ids text[], _roles text[], _agent_ids text[],
    _contents text[], _metadata jsonb[]
) RETURNS TABLE (place bigint, sequence bigint, created_at timestamptz, is_same boolean)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    -- The position, number, time and equality of each message that is stored already.
    _found record;
    _prior_positions bigint[] := '{}';
    _prior_sequences bigint[] := '{}';
    _prior_times timestamptz[] := '{}';
    _prior_same boolean[] := '{}';
    -- The messages to store, each with its place from the end of those of its session.
    _new_positions bigint[];
    _new_backs bigint[];
    _new_sequences bigint[];
    _new_times timestamptz[];
    -- The number after the new messages of each session, and their time; null if the session accepts none.
    _nexts bigint[];
    _times timestamptz[];
    _taking record;
    _next bigint;
    _time timestamptz;
    _owned text[];
    _expected bigint;
    _stored bigint;
BEGIN
    -- Only the ids are sent to the shards; the messages are compared here.
    FOR _found IN
        SELECT g.position, m.sequence, m.created_at, m.role, m.agent_id, m.content, m.metadata
        FROM messages AS m
        INNER JOIN (
            SELECT _session_ids[u.place] AS session_id, u.message_id, u.position
            FROM unnest(_places, _message_ids) WITH ORDINALITY AS u (place, message_id, position)
        ) AS g ON m.session_id = g.session_id AND m.message_id = g.message_id
        WHERE m.session_id = any(_session_ids)
    LOOP
        _prior_positions := _prior_positions || _found.position;
        _prior_sequences := _prior_sequences || _found.sequence;
        _prior_times := _prior_times || _found.created_at;
        _prior_same := _prior_same || (
            _found.role = _roles[_found.position]
            AND _found.agent_id IS NOT DISTINCT FROM nullif(_agent_ids[_found.position], '')
            AND _found.content = _contents[_found.position]
            AND _found.metadata || _metadata[_found.position] = _found.metadata
        );
    END LOOP;

    SELECT array_agg(n.position), array_agg(n.back)
    INTO _new_positions, _new_backs
    FROM (
        SELECT
            g.position,
            row_number() OVER (PARTITION BY g.place ORDER BY g.position DESC) AS back
        FROM unnest(_places, _calls) WITH ORDINALITY AS g (place, call, position)
        WHERE
            g.position <> all(_prior_positions)
            AND g.call NOT IN (
                SELECT _calls[p.position]
                FROM unnest(_prior_positions, _prior_same) AS p (position, is_same)
                WHERE NOT p.is_same
            )
    ) AS n;

    IF _patience IS NOT NULL THEN
        PERFORM set_config('lock_timeout', _patience, true);
    END IF;
    FOR _taking IN
        SELECT
            n.place,
            max(n.back) AS messages
        FROM (
            SELECT _places[u.position] AS place, u.back
            FROM unnest(_new_positions, _new_backs) AS u (position, back)
        ) AS n
        GROUP BY n.place
        ORDER BY n.place
    LOOP
        SELECT t.next_sequence, t.updated_at
        INTO _next, _time
        FROM dal_take_numbers(
            _session_ids[_taking.place],
            nullif(_sources[_taking.place], ''),
            nullif(_user_ids[_taking.place], ''),
            nullif(_parent_ids[_taking.place], ''),
            _session_metadata[_taking.place],
            _taking.messages,
            CASE WHEN _confined THEN _user_ids[_taking.place] END,
            _if_next,
            _must_exist[_taking.place],
            _session_changes
        ) AS t;
        _nexts[_taking.place] := _next;
        _times[_taking.place] := _time;
    END LOOP;

    SELECT
        array_agg(n.position),
        array_agg(_nexts[_places[n.position]] - n.back),
        array_agg(_times[_places[n.position]])
    INTO _new_positions, _new_sequences, _new_times
    FROM unnest(_new_positions, _new_backs) AS n (position, back)
    WHERE _nexts[_places[n.position]] IS NOT NULL;
    _expected := coalesce(cardinality(_new_positions), 0);
    IF _expected > 0 THEN
        INSERT INTO messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
        SELECT
            _session_ids[g.place],
            n.sequence,
            g.message_id,
            g.role,
            nullif(g.agent_id, ''),
            g.content,
            g.metadata,
            n.created_at
        FROM unnest(_places, _message_ids, _roles, _agent_ids, _contents, _metadata) WITH ORDINALITY
        AS g (place, message_id, role, agent_id, content, metadata, position)
        INNER JOIN unnest(_new_positions, _new_sequences, _new_times) AS n (position, sequence, created_at)
            ON g.position = n.position
        ORDER BY g.position
        ON CONFLICT (session_id, message_id) DO NOTHING;
        GET DIAGNOSTICS _stored = ROW_COUNT;
        IF _stored < _expected THEN
            RAISE EXCEPTION 'another transaction was storing the same message at this moment'
            USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;

    IF _confined AND cardinality(_prior_positions) > 0 THEN
        SELECT array_agg(s.session_id::text)
        INTO _owned
        FROM sessions AS s
        WHERE s.session_id = any(_session_ids) AND s.user_id = any(_user_ids);
    END IF;
    RETURN QUERY
    SELECT
        n.position,
        n.sequence,
        n.created_at,
        true
    FROM unnest(_new_positions, _new_sequences, _new_times) AS n (position, sequence, created_at)
    UNION ALL
    SELECT
        p.position,
        p.sequence,
        p.created_at,
        p.is_same
    FROM unnest(_prior_positions, _prior_sequences, _prior_times, _prior_same)
    AS p (position, sequence, created_at, is_same)
    WHERE NOT _confined OR _session_ids[_places[p.position]] = any(_owned)
    ORDER BY 1;
END
$$;
