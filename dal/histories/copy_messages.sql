-- The messages, as their lines come.
COPY pg_temp.dal_import_messages (
    session_id, sequence, message_id, role, agent_id, content, metadata, created_at
) FROM STDIN;
