-- name: flush()^
-- Have this backend hand its counts in at the end of the transaction, instead of a second later.
SELECT pg_stat_force_next_flush();
