-- Bring the planner's statistics up to date now, instead of a minute later. It reads at most 30,000 pages of a table,
-- and blocks nobody who reads or writes. It does not wait for a vacuum that runs, and warns where the role may not.
ANALYZE (SKIP_LOCKED) sessions, messages;
