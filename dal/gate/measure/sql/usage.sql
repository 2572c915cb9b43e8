-- name: may_report_usage()^
-- Tell whether this connection may have the server report what each statement used.
SELECT
    has_parameter_privilege('log_statement_stats', 'SET')
    AND has_parameter_privilege('log_min_messages', 'SET') AS may;

-- name: report_usage()
-- Have the server report, in this transaction, the CPU time of each statement to the client, and not to its log.
SELECT
    set_config('log_min_messages', 'fatal', true) AS log_min_messages,
    set_config('client_min_messages', 'log', true) AS client_min_messages,
    set_config('log_statement_stats', 'on', true) AS log_statement_stats;

-- name: elsewhere()
-- Move this transaction to a time zone in which no day or hour is the same as where the data were stored: a call of
--   which the cost depends on the session's time zone costs more here.
SELECT set_config('TimeZone', '<far>-99:45', true) AS time_zone;
