-- Update the planner's statistics now, instead of when autovacuum does. ANALYZE reads at most 30,000 pages of a table,
-- and blocks neither readers nor writers. With SKIP_LOCKED it does not wait for a running vacuum. If the role may not
-- analyze a table, the server only sends a warning.
ANALYZE (SKIP_LOCKED) sessions, messages;
