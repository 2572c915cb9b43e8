-- name: annotate(session_id, message_id, metadata, change_id, owner)^
-- Merge keys into a message's metadata; an existing key gets the new value. This works in archived sessions,
-- too, since feedback often comes after a session has ended.
--
-- One statement: One call of dal_annotate, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, messages_message_id_key, messages_pkey, changes_pkey; writes to the indexes of
--   messages only if the page has no room for the new version.
-- Rows locked: the session's row, until the commit, then the message's. Waits for a writer of the same
--   session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, changes; 1 row of sessions; 1 row of messages;
--   waits for rows of sessions, messages
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: Message; as it is stored now; no row if the session is not stored, does not contain the message, or is
--   trashed or deleted. If two equal changes run at the same time, the second waits for the first, and changes
--   nothing.
SELECT
    m.session_id,
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.metadata,
    m.created_at
FROM dal_annotate(
    :session_id::text, :message_id::text, :metadata::jsonb, :change_id::text, :owner::text
) AS m;
