-- As store.sql, for tables that are distributed over a cluster.
SELECT
    s.sessions,
    s.messages,
    s.already_there,
    s.refused,
    s.reasons,
    s.sessions_known_to_planner,
    s.messages_known_to_planner
FROM dal_import_store() AS s;
