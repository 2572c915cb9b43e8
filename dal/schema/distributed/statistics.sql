-- Set the planner settings of schema.sql on the shards, since Citus does not copy n_distinct and STATISTICS to them.
-- Applying the file twice is harmless. Run it after the transaction that distributed the tables has committed, since
-- Citus changes the shards on other connections, and again after shards were moved or split.
SELECT
    run_command_on_shards(
        'sessions',
        'ALTER TABLE %s ALTER COLUMN status SET (n_distinct = 2), ALTER COLUMN user_id SET (n_distinct = 10), '
        'ALTER COLUMN source SET (n_distinct = 10), ALTER COLUMN parent_id SET (n_distinct = 10)'
    ) AS outcome
UNION ALL
SELECT
    run_command_on_shards(
        'messages',
        'ALTER TABLE %s ALTER COLUMN session_id SET (n_distinct = -0.02), ALTER COLUMN session_id SET STATISTICS 1'
    ) AS outcome;
