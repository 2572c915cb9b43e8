-- Create temporary tables for the sessions and messages of one batch. They are dropped when its transaction ends.
-- COPY lasts as long as it takes to read the lines, so it has no statement_timeout. The library sets a deadline for the
-- statements that follow.
SET LOCAL statement_timeout = 0;

CREATE TEMPORARY TABLE dal_import_sessions (
    session_id text COLLATE "C" NOT NULL,
    source text,
    user_id text,
    parent_id text,
    status text NOT NULL,
    next_sequence bigint NOT NULL,
    message_count bigint NOT NULL,
    agent_ids text[],
    metadata jsonb NOT NULL,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    revision bigint NOT NULL,
    fork_point bigint,
    trashed_from text,
    owner text,
    is_new boolean NOT NULL DEFAULT false
) ON COMMIT DROP;

CREATE TEMPORARY TABLE dal_import_messages (
    session_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C",
    content text NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz
) ON COMMIT DROP;
