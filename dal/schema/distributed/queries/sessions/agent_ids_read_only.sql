-- name: agent_ids_read_only(session_ids, owner)
-- List the agents that took part in each of the given sessions, in order of first appearance, without
-- caching the list: for read-only roles and servers.
--
-- One statement: As agent_ids, but it caches nothing. A read-only role or server refuses a statement that could
--   write, even if it would write nothing.
-- Index: sessions_pkey, messages_by_agent.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: 1; 0 for each of the given sessions
-- Locks: AccessShare on sessions, messages
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
SELECT
    a.session_id,
    a.agent_ids
FROM dal_agent_ids((:session_ids::text[])[1], :session_ids::text[], :owner::text, false) AS a;
