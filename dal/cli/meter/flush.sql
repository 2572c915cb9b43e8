-- name: flush()^
-- Let this connection hand its counts in when its transaction ends: a server process keeps them to itself
-- for up to a second.
SELECT pg_stat_force_next_flush();
