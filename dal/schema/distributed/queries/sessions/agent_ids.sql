-- name: agent_ids(session_ids, owner)
-- List the agents that took part in each of the given sessions, in order of first appearance.
--
-- One statement: One call of dal_agent_ids, which runs on the worker that has the first session's shard. It reads
--   the sessions one by one, also those on other workers. Citus chooses the worker by the function's first argument,
--   so the first id is also passed on its own.
-- Index: sessions_pkey, messages_by_agent.
-- Rows locked: the row of an archived session without a cached list, until the commit. Waits for nobody:
--   it skips a row that is locked, and a later read caches the list.
-- Promises: 1 round trip
-- Remote commands: 1; 0 for each of the given sessions
-- Locks: RowExclusive on sessions; AccessShare on messages; any rows of sessions FOR NO KEY UPDATE; waits for nobody
-- Never: none
-- Repeat: safe: the stored list is final.
-- Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
SELECT
    a.session_id,
    a.agent_ids
FROM dal_agent_ids((:session_ids::text[])[1], :session_ids::text[], :owner::text, true) AS a;
