-- name: analyze()!
-- Gather the planner's statistics, as autovacuum does in a service that has run for a minute.
ANALYZE sessions, messages;
