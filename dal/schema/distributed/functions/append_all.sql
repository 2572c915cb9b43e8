-- Append messages to any number of sessions, in the given order. Sessions that do not exist are created.
-- All messages of a call are stored, or none of them.
--
-- The first argument is the first session's id, by which Citus chooses the worker that runs the function. The
-- others are those of queries/messages/append_all.sql.
-- Why it is safe: As dal_append, for several sessions and messages. If an equal append commits between the first
--   statement and the lock, the call fails with 40001; it is safe to repeat, and then finds the messages.
-- Locks: the sessions' rows, until the commit: first those that it creates, then the others, both in the order of shard
--   and session_id. So two of these calls never deadlock: only calls that create the same session wait for a new row.
-- Citus refuses to lock rows of several shards in one statement, so the numbers are taken shard by shard.
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
    -- The places of the sessions with new messages, and the number of these.
    _taking_places bigint[];
    _taking_messages bigint[];
    _taking record;
    _existing text[];
    _shard record;
    _now constant timestamptz := statement_timestamp();
    _minute_ago constant timestamptz := _now - interval '1 minute';
    _hour_ahead constant timestamptz := _now + interval '1 hour';
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
    SELECT array_agg(t.place), array_agg(t.messages)
    INTO _taking_places, _taking_messages
    FROM (
        SELECT
            _places[n.position] AS place,
            max(n.back) AS messages
        FROM unnest(_new_positions, _new_backs) AS n (position, back)
        GROUP BY 1
    ) AS t;
    SELECT array_agg(s.session_id::text)
    INTO _existing
    FROM sessions AS s
    WHERE s.session_id = any(_session_ids);
    FOR _taking IN
        SELECT t.place, t.messages
        FROM unnest(_taking_places, _taking_messages) AS t (place, messages)
        WHERE NOT _must_exist[t.place] AND (_existing IS NULL OR _session_ids[t.place] <> all(_existing))
        ORDER BY get_shard_id_for_distribution_column('sessions', _session_ids[t.place]), _session_ids[t.place]
    LOOP
        INSERT INTO sessions AS s (
            session_id, source, user_id, parent_id, metadata, next_sequence, message_count,
            created_at, updated_at, listed_at
        )
        VALUES (
            _session_ids[_taking.place],
            nullif(_sources[_taking.place], ''),
            nullif(_user_ids[_taking.place], ''),
            nullif(_parent_ids[_taking.place], ''),
            _session_metadata[_taking.place],
            _taking.messages,
            _taking.messages,
            _now,
            _now,
            _now
        )
        ON CONFLICT (session_id) DO NOTHING;
        IF FOUND THEN
            _nexts[_taking.place] := _taking.messages;
            _times[_taking.place] := _now;
        END IF;
    END LOOP;

    FOR _shard IN
        SELECT
            array_agg(t.place) AS places,
            array_agg(t.messages) AS messages,
            array_agg(_session_ids[t.place]) AS session_ids
        FROM unnest(_taking_places, _taking_messages) AS t (place, messages)
        WHERE _nexts[t.place] IS NULL
        GROUP BY get_shard_id_for_distribution_column('sessions', _session_ids[t.place])
        ORDER BY get_shard_id_for_distribution_column('sessions', _session_ids[t.place])
    LOOP
        PERFORM
        FROM sessions AS s
        WHERE
            s.session_id = any(_shard.session_ids)
            AND s.status IN ('active', 'paused')
            AND (NOT _confined OR s.user_id = any(_user_ids))
        ORDER BY s.session_id
        FOR NO KEY UPDATE;
        FOR _taking IN
            WITH taken AS (
                UPDATE sessions AS s SET
                    next_sequence = s.next_sequence + g.messages,
                    message_count = s.message_count + g.messages,
                    updated_at = CASE WHEN s.updated_at > _hour_ahead THEN _now ELSE greatest(s.updated_at, _now) END,
                    listed_at = CASE
                        WHEN s.listed_at > _minute_ago AND s.listed_at < _hour_ahead THEN s.listed_at ELSE _now
                    END,
                    metadata = CASE
                        WHEN _session_changes IS NULL THEN s.metadata ELSE (s.metadata || _session_changes)::dal_object
                    END
                FROM unnest(_shard.session_ids, _shard.places, _shard.messages) AS g (session_id, place, messages)
                WHERE
                    s.session_id = g.session_id
                    AND s.session_id = any(_shard.session_ids)
                    AND s.status IN ('active', 'paused')
                    AND (NOT _confined OR s.user_id = _user_ids[g.place])
                    AND (_if_next IS NULL OR s.next_sequence = _if_next)
                RETURNING g.place, s.next_sequence, s.updated_at
            )

            SELECT
                t.place,
                t.next_sequence,
                t.updated_at
            FROM taken AS t
        LOOP
            _nexts[_taking.place] := _taking.next_sequence;
            _times[_taking.place] := _taking.updated_at;
        END LOOP;
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
        -- The join with sessions lets Citus run it on each shard; without that, one node would collect the rows.
        SELECT
            s.session_id,
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
        INNER JOIN sessions AS s ON s.session_id = _session_ids[g.place]
        WHERE s.session_id = any(_session_ids)
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
