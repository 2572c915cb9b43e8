-- Stage the sessions, when all their messages have been read, which give the defaults of counters and times.
COPY pg_temp.dal_import_sessions (
    session_id, source, user_id, parent_id, status, next_sequence, message_count, agent_ids, metadata, created_at,
    updated_at, archived_at, owner
) FROM STDIN;
