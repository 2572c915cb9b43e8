-- Copy the messages of a batch while their lines are read.
COPY pg_temp.dal_import_messages (
    session_id, sequence, message_id, role, agent_id, content, metadata, created_at
) FROM STDIN;
