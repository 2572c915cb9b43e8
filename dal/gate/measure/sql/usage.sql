-- name: may_report_usage()^
-- Return whether this connection may ask for the resource usage of each statement.
SELECT
    has_parameter_privilege('log_statement_stats', 'SET')
    AND has_parameter_privilege('log_min_messages', 'SET') AS may;

-- name: report_usage()
-- Report the CPU time of each statement in this transaction to the client, and not to the server's log.
SELECT
    set_config('log_min_messages', 'fatal', true) AS log_min_messages,
    set_config('client_min_messages', 'log', true) AS client_min_messages,
    set_config('log_statement_stats', 'on', true) AS log_statement_stats;

-- name: set_far_time_zone()
-- Set an extreme time zone for this transaction. Days and hours differ from those in which the data were stored, so a
--   cost that depends on the time zone shows.
SELECT set_config('TimeZone', '<far>-99:45', true) AS time_zone;
