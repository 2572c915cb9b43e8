-- name: serial()
-- Disable parallel workers for this transaction, since their work is not in its counters.
SELECT set_config('max_parallel_workers', '0', true) AS max_parallel_workers;
