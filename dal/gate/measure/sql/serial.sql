-- name: serial()
-- Let this transaction do by itself what it would give to parallel workers, whose counts are not its own.
SELECT set_config('max_parallel_workers', '0', true) AS max_parallel_workers;
