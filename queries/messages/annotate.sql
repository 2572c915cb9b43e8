-- name: annotate(session_id, message_id, metadata, change_id, owner)^
-- Merge keys into a message's metadata; an existing key gets the new value. This works in archived sessions,
-- too, since feedback often comes after a session has ended.
--
-- One statement: It locks the session's row first, as an append does, then the message. The merge uses the
--   newest version of the locked message, so no concurrent merge is lost. If nothing would change, nothing is
--   written. The session keeps its times, and so its place in lists. With `owner`, another user's session
--   behaves as if it did not exist.
-- Index: sessions_pkey, messages_message_id_key, messages_pkey, changes_pkey; writes to the indexes of
--   messages only if the page has no room for the new version.
-- Rows locked: the session's row, until the commit, then the message's. Waits for a writer of the same
--   session.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; WAL O(1) in the session's messages;
--   buffers O(log n) in the sessions; buffers O(log n) in the session's changes; at most 52 buffers;
--   at most 12 WAL records; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, changes; 1 row of sessions; 1 row of messages;
--   waits for rows of sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: Message; as it is stored now; no row if the session is not stored, does not contain the message,
--   or is trashed or deleted. If two equal changes run at the same time, the second waits for the first and
--   fails with 23505; it is safe to repeat.
WITH prior AS (
    SELECT c.change_id
    FROM changes AS c
    WHERE c.session_id = :session_id::text AND c.change_id = :change_id::text
),

session AS MATERIALIZED (
    SELECT s.session_id
    FROM sessions AS s
    WHERE
        s.session_id = :session_id::text
        AND s.status NOT IN ('trashed', 'deleted')
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    FOR NO KEY UPDATE
),

message AS MATERIALIZED (
    SELECT
        m.session_id,
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at,
        CASE
            WHEN EXISTS (SELECT FROM prior) THEN m.metadata ELSE m.metadata || :metadata::jsonb
        END AS wanted
    FROM messages AS m
    WHERE m.session_id = (SELECT s.session_id FROM session AS s) AND m.message_id = :message_id::text
    FOR NO KEY UPDATE
),

annotated AS (
    UPDATE messages AS m SET
        metadata = o.wanted
    FROM message AS o
    WHERE m.session_id = :session_id::text AND m.sequence = o.sequence AND o.wanted::text <> o.metadata::text
    RETURNING m.sequence
),

counted AS (
    UPDATE sessions AS s SET
        revision = s.revision + 1
    WHERE s.session_id = :session_id::text AND EXISTS (SELECT FROM annotated)
    RETURNING s.revision
),

noted AS (
    INSERT INTO changes AS c (
        session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
    )
    SELECT
        (SELECT :session_id::text) AS session_id,
        (SELECT :change_id::text) AS change_id,
        s.revision,
        'annotate' AS kind,
        m.sequence AS first_sequence,
        m.sequence AS last_sequence,
        1 AS messages,
        statement_timestamp() AS changed_at
    FROM counted AS s
    CROSS JOIN annotated AS m
),

pruned AS (
    DELETE FROM changes AS c
    USING (
        SELECT o.change_id
        FROM changes AS o
        WHERE o.session_id = :session_id::text AND EXISTS (SELECT FROM annotated)
        ORDER BY o.change_id
        LIMIT 2
    ) AS oldest
    WHERE
        c.session_id = :session_id::text
        AND c.change_id = oldest.change_id
        AND c.changed_at < statement_timestamp() - interval '1 hour'
)

SELECT
    o.session_id,
    o.sequence,
    o.message_id,
    o.role,
    o.agent_id,
    o.content,
    o.wanted AS metadata,
    o.created_at
FROM message AS o;
