-- Update the planner's statistics now, without waiting for autovacuum. This reads at most 30,000 pages of a table, and
-- blocks neither reads nor writes. It does not wait for a running vacuum, and only warns if the role may not do it.
ANALYZE (SKIP_LOCKED) sessions, messages;
