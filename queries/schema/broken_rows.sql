-- name: broken_rows(limit)
-- Find sessions and messages that break a rule which session-dal keeps, but the tables may not have checked.
--
-- One statement: One scan of each table. Most rules about several columns are not constraints, since
--   PostgreSQL would parse them again for each append. Domains check each new value, but have not checked the
--   values that were stored before them. As with a CHECK constraint, a rule that yields null is not broken.
-- Index: none.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(n) in the sessions
-- Remote commands: O(shards), at most 1 each
-- Locks: AccessShare on sessions, messages
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: BrokenRow; one for each rule that a row breaks; no row if all rules hold.
SELECT
    b.rule,
    b.session_id,
    b.sequence
FROM (
    SELECT
        r.rule,
        s.session_id,
        NULL::bigint AS sequence
    FROM sessions AS s
    CROSS JOIN LATERAL (
        VALUES
        (
            'session_id, source, user_id and parent_id have 1 to 255 characters',
            length(s.session_id) BETWEEN 1 AND 255
            AND length(s.source) BETWEEN 1 AND 255
            AND length(s.user_id) BETWEEN 1 AND 255
            AND length(s.parent_id) BETWEEN 1 AND 255
        ),
        (
            'status is active, paused, archived, trashed or deleted',
            s.status IN ('active', 'paused', 'archived', 'trashed', 'deleted')
        ),
        (
            'trashed_from is active, paused or archived if the session is trashed, and otherwise null',
            CASE
                WHEN s.status = 'trashed' THEN coalesce(s.trashed_from IN ('active', 'paused', 'archived'), false)
                ELSE s.trashed_from IS NULL
            END
        ),
        ('message_count is from 0 to next_sequence', s.message_count BETWEEN 0 AND s.next_sequence),
        (
            'archived_at is set if the session is archived, and otherwise null',
            (coalesce(s.trashed_from, s.status) = 'archived') = (s.archived_at IS NOT NULL)
        ),
        ('metadata is an object', jsonb_typeof(s.metadata) = 'object')
    ) AS r (rule, holds)
    WHERE NOT r.holds
    UNION ALL
    SELECT
        r.rule,
        m.session_id,
        m.sequence
    FROM messages AS m
    CROSS JOIN LATERAL (
        VALUES
        (
            'message_id, role and agent_id have 1 to 255 characters',
            length(m.message_id) BETWEEN 1 AND 255
            AND length(m.role) BETWEEN 1 AND 255
            AND length(m.agent_id) BETWEEN 1 AND 255
        ),
        ('sequence is 0 or more', m.sequence >= 0),
        ('metadata is an object', jsonb_typeof(m.metadata) = 'object')
    ) AS r (rule, holds)
    WHERE NOT r.holds
) AS b
ORDER BY b.session_id, b.sequence NULLS FIRST, b.rule
LIMIT :limit::bigint;
