-- name: redact(session_id, message_id, content, change_id, owner)^
-- Overwrite a message's content and clear its metadata, in its removed versions too. This works in archived and
-- trashed sessions, too.
--
-- One statement: It locks the session's row first, as an append does. If the message is removed while this
--   statement waits for the lock, it is no longer where the snapshot shows it: then nothing is changed and no
--   row is returned, so that the caller sends the statement again. If nothing would change, nothing is
--   written. The session keeps its times, and so its place in lists. With `owner`, another user's session
--   behaves as if it did not exist.
-- Index: sessions_pkey, messages_message_id_key, messages_pkey, removed_messages_pkey, changes_pkey; writes
--   to the indexes of messages only if the page has no room for the new version.
-- Rows locked: the session's row, until the commit, then the message's and those of its removed versions.
--   Waits for a writer of the same session.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; WAL O(1) in the session's messages;
--   buffers O(log n) in the sessions; buffers O(log n) in the session's changes;
--   buffers O(n) in the session's removed messages, at most n/20; at most 52 buffers; at most 12 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions; 1 row of messages;
--   waits for rows of sessions, messages, removed_messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: Message; as it is stored now, or else its last removed version; no row if the session is not
--   stored, or has no such message. If two equal changes run at the same time, the second waits for the first
--   and fails with 23505; it is safe to repeat.
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
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    FOR NO KEY UPDATE
),

shown AS (
    SELECT m.sequence
    FROM messages AS m
    WHERE m.session_id = :session_id::text AND m.message_id = :message_id::text
),

stored AS MATERIALIZED (
    SELECT
        m.sequence,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at
    FROM messages AS m
    WHERE m.session_id = (SELECT s.session_id FROM session AS s) AND m.message_id = :message_id::text
    FOR NO KEY UPDATE
),

removed AS MATERIALIZED (
    SELECT
        m.sequence,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at
    FROM removed_messages AS m
    WHERE
        m.session_id = (SELECT s.session_id FROM session AS s)
        AND m.message_id = :message_id::text
        AND (EXISTS (SELECT FROM stored) OR NOT EXISTS (SELECT FROM shown))
    FOR NO KEY UPDATE
),

redacted AS (
    UPDATE messages AS m SET
        content = :content::text,
        metadata = '{}'
    FROM stored AS o
    WHERE
        m.session_id = :session_id::text
        AND m.sequence = o.sequence
        AND (o.content <> :content::text OR o.metadata <> '{}')
        AND NOT EXISTS (SELECT FROM prior)
    RETURNING m.sequence
),

redacted_removed AS (
    UPDATE removed_messages AS m SET
        content = :content::text,
        metadata = '{}'
    FROM removed AS o
    WHERE
        m.session_id = :session_id::text
        AND m.sequence = o.sequence
        AND (o.content <> :content::text OR o.metadata <> '{}')
        AND NOT EXISTS (SELECT FROM prior)
    RETURNING m.sequence
),

total AS (
    SELECT
        min(r.sequence) AS first_sequence,
        max(r.sequence) AS last_sequence,
        count(*) AS messages
    FROM (
        SELECT d.sequence
        FROM redacted AS d
        UNION ALL
        SELECT d.sequence
        FROM redacted_removed AS d
    ) AS r
),

counted AS (
    UPDATE sessions AS s SET
        revision = s.revision + 1
    FROM total AS t
    WHERE s.session_id = :session_id::text AND t.messages > 0
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
        'redact' AS kind,
        t.first_sequence,
        t.last_sequence,
        t.messages,
        statement_timestamp() AS changed_at
    FROM counted AS s
    CROSS JOIN total AS t
),

pruned AS (
    DELETE FROM changes AS c
    USING (
        SELECT o.change_id
        FROM changes AS o
        WHERE o.session_id = :session_id::text AND EXISTS (SELECT FROM counted)
        ORDER BY o.change_id
        LIMIT 2
    ) AS oldest
    WHERE
        c.session_id = :session_id::text
        AND c.change_id = oldest.change_id
        AND c.changed_at < statement_timestamp() - interval '1 hour'
),

found AS (
    SELECT
        o.*,
        true AS is_stored
    FROM stored AS o
    UNION ALL
    SELECT
        o.*,
        false AS is_stored
    FROM removed AS o
)

SELECT
    (SELECT :session_id::text) AS session_id,
    f.sequence,
    (SELECT :message_id::text) AS message_id,
    f.role,
    f.agent_id,
    CASE WHEN EXISTS (SELECT FROM prior) THEN f.content ELSE :content::text END AS content,
    CASE WHEN EXISTS (SELECT FROM prior) THEN f.metadata ELSE '{}' END AS metadata,
    f.created_at
FROM found AS f
ORDER BY f.is_stored DESC, f.sequence DESC
LIMIT 1;
