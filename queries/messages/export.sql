-- name: export(session_ids, after, limit, largest, owner)
-- Read the messages of each of these sessions that follow a sequence number, in reading order, so many of each.
-- From the start with -1.
--
-- One statement: for each session a walk along the index from the number on, as messages.after. The lines are not
--   JSON yet, since escaping takes a server longer than all the rest: the texts stand as they are, with control
--   characters where the JSON around them belongs (dal/histories/marks.py), and `marks` tells how many, so that a
--   text with some of its own is found. There are no lines if a message is larger than `largest` bytes, with its
--   metadata counted sixteenfold since it may be stored compressed: they would fill the memory. For both
--   there is messages.export_escaped. The sort is there to have all read before the first row is sent, which
--   nobody may be waiting for yet; and the array stands in a subquery as in sessions.agent_ids.
--   With an owner, a session that is not that user's has no messages.
-- Index: messages_pkey, forwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page, at most n/42; buffers O(n) in the given sessions, at most 22 buffers each;
--   at most 9 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: ExportedMessages; one a session, in the order given; no row when none is.
SELECT
    wanted.session_id,
    body.sequence,
    body.messages,
    body.marks,
    body.lines
FROM unnest((SELECT :session_ids::text[])) WITH ORDINALITY AS wanted (session_id, place)
CROSS JOIN LATERAL (
    SELECT
        max(line.sequence) AS sequence,
        count(*) AS messages,
        9 * count(*) + count(line.agent_id) AS marks,
        CASE WHEN bool_and(line.fits) THEN convert_to(
            string_agg(
                CASE WHEN line.fits THEN
                    (
                        E'\x01' || line.sequence || E'\x02' || line.message_id || E'\x03' || line.role
                        || coalesce(E'\x04' || line.agent_id || E'\x05', E'\x06')
                    )
                    || line.content
                    || (
                        E'\x07\x08' || line.metadata::text || E'\x08\x0b'
                        || to_char(line.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || E'\x0c'
                    )
                END,
                '' ORDER BY line.sequence
            ),
            'UTF8'
        ) END AS lines
    FROM (
        SELECT
            m.sequence,
            m.message_id,
            m.role,
            m.agent_id,
            m.content,
            m.metadata,
            m.created_at,
            octet_length(m.content) + 16 * pg_column_size(m.metadata) <= :largest::bigint AS fits
        FROM messages AS m
        WHERE
            m.session_id = wanted.session_id
            AND m.sequence > :after::bigint
            AND (
                (SELECT :owner::text) IS NULL
                OR (SELECT :owner::text) = (
                    SELECT o.user_id
                    FROM sessions AS o
                    WHERE o.session_id = wanted.session_id
                )
            )
        ORDER BY m.sequence
        LIMIT :limit::bigint
    ) AS line
) AS body
ORDER BY wanted.place;
