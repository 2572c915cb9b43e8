-- Read a page of an export: messages of several sessions, one session after the other, in reading order. `_after` is a
-- sequence number in the first of them. The page ends after one MiB, but has at least one message.
--
-- The first argument is the first session's id, by which Citus chooses the worker that runs the function.
-- Within a transaction, as in an export, it runs on the node that the client is connected to.
-- Why it is safe: It only reads. Each session is read by one statement, and so as it was at one moment, but the
--   moments differ.
-- Locks: none.
CREATE OR REPLACE FUNCTION dal_export_messages(
    _session_id text, _session_ids text[], _after bigint, _limit bigint, _owner text
) RETURNS TABLE (
    session_id text, sequence bigint, message_id text, role text, agent_id text, content text, json_metadata text,
    iso_created_at text, is_last boolean
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    _place integer;
    _message record;
    _bytes bigint := 0;
BEGIN
    is_last := true;
    FOR _place IN 1..cardinality(_session_ids) LOOP
        FOR _message IN
            SELECT
                m.sequence,
                m.message_id::text,
                m.role::text,
                m.agent_id::text,
                m.content,
                m.metadata::text AS json_metadata,
                to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS iso_created_at,
                octet_length(m.content) + pg_column_size(m.metadata) AS bytes
            FROM messages AS m
            WHERE
                m.session_id = _session_ids[_place]
                AND m.sequence > CASE WHEN _place = 1 THEN _after ELSE -1 END
                AND (
                    _owner IS NULL
                    OR EXISTS (
                        SELECT FROM sessions AS o
                        WHERE o.session_id = _session_ids[_place] AND o.user_id = _owner
                    )
                )
            ORDER BY m.sequence
            LIMIT _limit
        LOOP
            -- Return the message before this one: only now it is known whether it is the last.
            IF sequence IS NOT NULL THEN
                is_last := false;
                IF _bytes >= 1048576 THEN
                    RETURN NEXT;
                    RETURN;
                END IF;
                RETURN NEXT;
            END IF;
            session_id := _session_ids[_place];
            sequence := _message.sequence;
            message_id := _message.message_id;
            role := _message.role;
            agent_id := _message.agent_id;
            content := _message.content;
            json_metadata := _message.json_metadata;
            iso_created_at := _message.iso_created_at;
            _bytes := _bytes + _message.bytes;
        END LOOP;
    END LOOP;
    IF sequence IS NOT NULL THEN
        is_last := true;
        RETURN NEXT;
    END IF;
END
$$;
