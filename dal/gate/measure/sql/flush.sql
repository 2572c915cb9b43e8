-- name: flush()^
-- Flush this backend's counters at the end of the transaction, instead of up to a second later.
SELECT pg_stat_force_next_flush();
