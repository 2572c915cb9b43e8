-- name: export(session_ids, after, limit, owner)
-- Read a page of an export: messages of several sessions, one session after the other, in reading order.
-- `after` is a sequence number in the first session, or -1 for its start; `limit` is the maximum per
-- session.
--
-- One statement: One call of dal_export_messages, which runs on the worker that has the first session's shard, and
--   reads the sessions one after the other: those of other workers from there. Citus decides by a constant, so the
--   first id is passed apart. Each session is read as it was at one moment; the page as a whole is not.
-- Index: messages_pkey, forwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: 1; 0 for each of the given sessions
-- Locks: AccessShare on messages, sessions
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: ExportedMessage; in the order of the given sessions; no row after the last message.
SELECT
    m.session_id,
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.json_metadata,
    m.iso_created_at,
    m.is_last
FROM dal_export_messages(
    (:session_ids::text[])[1], :session_ids::text[], :after::bigint, :limit::bigint, :owner::text
) AS m;
