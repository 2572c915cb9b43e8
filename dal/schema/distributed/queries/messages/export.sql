-- name: export(session_ids, after, limit, owner)
-- Read a page of an export: messages of several sessions, one session after the other, in reading order.
-- `after` is a sequence number in the first session, or -1 for its start; `limit` is the maximum per
-- session.
--
-- One statement: One call of dal_export_messages, which runs on the worker that has the first session's shard;
--   within a transaction, as in an export, on the node that the client is connected to. It reads the sessions one by
--   one, also those on other workers: each as it was at one moment, but the moments differ. Citus chooses the worker
--   by the function's first argument, so the first id is also passed on its own.
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
