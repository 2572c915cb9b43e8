-- Copy the sessions of a batch after its messages, which their counters and times depend on.
COPY pg_temp.dal_import_sessions (
    session_id, source, user_id, parent_id, status, next_sequence, message_count, agent_ids, metadata, created_at,
    updated_at, archived_at, revision, fork_point, trashed_from, owner
) FROM STDIN;
