-- name: redact(session_id, message_id, content, change_id, owner)^
-- Overwrite a message's content and clear its metadata, in its removed versions too. This works in archived and
-- trashed sessions, too.
--
-- One statement: One call of dal_redact, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, messages_message_id_key, messages_pkey, removed_messages_pkey, changes_pkey; writes
--   to the indexes of messages only if the page has no room for the new version.
-- Rows locked: the session's row, until the commit, then the message's and those of its removed versions.
--   Waits for a writer of the same session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions; 1 row of messages;
--   waits for rows of sessions, messages, removed_messages
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: Message; as it is stored now, or else its last removed version; no row if the session is not stored, or
--   has no such message. If two equal changes run at the same time, the second waits for the first, and changes
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
FROM dal_redact(:session_id::text, :message_id::text, :content::text, :change_id::text, :owner::text) AS m;
