-- session-dal: sessions of agents, and their messages.
--
-- A tour. A session is one conversation. Its row holds the counters and timestamps that change with every
-- message, and columns that are mostly set once (user, source, parent, metadata). A message is one entry of
-- the conversation. Messages are numbered within their session: 0, 1, 2 … without gaps, in the order of the
-- commits. A session without a message has no row: the statement that stores the first message creates it, so
-- a client that connects but never speaks writes nothing.
--
-- The session's row is also the lock for every change in the session. An append updates the row first, to take
-- the next number. So appends to the same session wait for each other, and for archive, remove and delete;
-- different sessions never wait for each other.
--
-- The search_path decides where the tables are: no name below is qualified, and everything is created in the
-- path's first schema. That schema is created if it is missing. Apply the file as a whole, in one transaction;
-- applying it twice is harmless:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file schema.sql
--     dal schema apply --schema agents
--
-- The figures below were measured on PostgreSQL 18. This command measures them again: uv run pytest
-- tests/one_server/test_cost.py --postgres=embedded

-- First, make sure that this file runs only once at a time, that the schema exists, and that it contains no
-- tables of another project under these names.
DO $$
DECLARE
    -- The version that this file creates.
    made constant integer := 8;
    target text;
    found integer;
    strange text;
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        RAISE EXCEPTION 'session-dal needs PostgreSQL 15 or later, and this server is %',
            current_setting('server_version')
        USING ERRCODE = 'feature_not_supported';
    END IF;
    -- 'session-' in ASCII: a key that no other program uses by accident.
    PERFORM pg_advisory_xact_lock(x'73657373696F6E2D'::bigint);
    -- If no other schema on the path exists, pg_temp is the current schema.
    IF current_schema() IS NULL OR starts_with(current_schema(), 'pg_temp') THEN
        target := (parse_ident(current_setting('search_path'), false))[1];
        IF target IS NULL OR target = '$user' THEN
            RAISE EXCEPTION 'no schema of the search_path (%) exists', current_setting('search_path')
            USING ERRCODE = 'invalid_schema_name',
                HINT = 'Name the schema that is to hold the tables, as in dal schema apply --schema agents.';
        END IF;
        EXECUTE format('CREATE SCHEMA %I', target);
    END IF;
    -- Anyone who may create objects in this schema could have planted some under our names: tables with triggers,
    -- views, or domains with checks. So an object is accepted only if its owner is the current role, or a member of
    -- the role that owns the schema or the database.
    SELECT string_agg(format('%s of %s', f.name, pg_get_userbyid(f.owner)), ', ') INTO strange
    FROM (
        SELECT
            c.oid::regclass::text AS name,
            c.relowner AS owner,
            c.relnamespace AS namespace,
            c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AS fits
        FROM unnest('{dal_schema,sessions,messages,removed_messages,changes}'::text[]) AS w (name)
        INNER JOIN pg_class AS c
            ON c.oid IN (to_regclass(format('%I.%I', current_schema(), w.name)), to_regclass('pg_temp.' || w.name))
        UNION ALL
        SELECT
            t.oid::regtype::text AS name,
            t.typowner AS owner,
            t.typnamespace AS namespace,
            t.typtype = 'd' AND t.typnamespace <> pg_my_temp_schema() AS fits
        FROM unnest('{dal_identifier,dal_status,dal_object}'::text[]) AS w (name)
        INNER JOIN pg_type AS t
            ON t.oid IN (to_regtype(format('%I.%I', current_schema(), w.name)), to_regtype('pg_temp.' || w.name))
    ) AS f
    INNER JOIN pg_namespace AS n ON f.namespace = n.oid
    INNER JOIN pg_database AS d ON d.datname = current_database()
    WHERE
        NOT f.fits
        OR (
            f.owner <> quote_ident(current_user)::regrole
            AND NOT pg_has_role(f.owner, n.nspowner, 'MEMBER')
            AND NOT pg_has_role(f.owner, d.datdba, 'MEMBER')
        );
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'these are not session-dal''s tables and domains, but have their names: %', strange
        USING ERRCODE = 'duplicate_table',
            HINT = 'They are views or temporary, or their owner owns neither the schema nor the database. '
                'Drop them, or choose a schema of its own, as in dal schema apply --schema agents.';
    END IF;
    IF to_regclass(format('%I.dal_schema', current_schema())) IS NULL THEN
        IF to_regclass(format('%I.sessions', current_schema())) IS NOT NULL
            OR to_regclass(format('%I.messages', current_schema())) IS NOT NULL
        THEN
            RAISE EXCEPTION 'schema "%" already holds a table named sessions or messages that is not session-dal''s',
                current_schema()
            USING ERRCODE = 'duplicate_table',
                HINT = 'Choose a schema of its own, as in dal schema apply --schema agents.';
        END IF;
        RETURN;
    END IF;
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> made THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file makes version %',
            current_schema(), found, made
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = CASE
                WHEN found < made THEN 'Run dal schema upgrade.'
                ELSE 'Use a newer release of session-dal, or these tables as they are if dal schema check passes.'
            END;
    END IF;
END
$$;

-- The versions of this file that created or upgraded the tables (dal/schema/migrations), newest last. A store
-- compares the latest with its own before its first statement.
CREATE TABLE IF NOT EXISTS dal_schema (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now(),
    -- The oldest version whose releases can use the tables. So an older release keeps working during a rollout, and
    -- after a rollback.
    usable_from integer
);

INSERT INTO dal_schema (version, usable_from) VALUES (8, 8) ON CONFLICT (version) DO NOTHING;

-- Three domains check single values. PostgreSQL parses the CHECK constraint of a table again for each statement that
-- writes to it, but that of a domain only once per connection. The nine CHECK constraints of version 7 took half of an
-- append's instructions (bench/test_server_cost.py). Most rules about several columns, such as
-- message_count <= next_sequence, are therefore not constraints: the statements keep them, and
-- dal schema check --rows finds rows that break them. The constraints are NOT VALID so that an upgrade need not scan
-- the tables: PostgreSQL checks every new value, but no stored row.
DO $$
BEGIN
    IF to_regtype(format('%I.dal_identifier', current_schema())) IS NULL THEN
        -- Every identifier has collation "C": text is compared as bytes, so an upgrade of the C library cannot change
        -- the order and corrupt an index.
        CREATE DOMAIN dal_identifier AS text COLLATE "C";
        -- Longer ids would not fit into an index entry of messages, which contains two of them.
        ALTER DOMAIN dal_identifier ADD CONSTRAINT dal_identifier_fits
        CHECK (value <> '' AND length(value) <= 255) NOT VALID;
        CREATE DOMAIN dal_status AS text COLLATE "C";
        ALTER DOMAIN dal_status ADD CONSTRAINT dal_status_is_known
        CHECK (value IN ('active', 'paused', 'archived', 'trashed', 'deleted')) NOT VALID;
        CREATE DOMAIN dal_object AS jsonb;
        ALTER DOMAIN dal_object ADD CONSTRAINT dal_object_is_an_object
        CHECK (jsonb_typeof(value) = 'object') NOT VALID;
    END IF;
END
$$;

-- The columns that an append changes come first and next to each other, the wide ones last. An update logs
-- the bytes from the first changed column to the last, so every append would also log any wide column between
-- them. With 1.5 kB of metadata, an append writes 0.6 kB of WAL; with the metadata between the hot columns it
-- would write 2.1 kB.
CREATE TABLE IF NOT EXISTS sessions (
    next_sequence bigint NOT NULL,
    message_count bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    -- The place in lists. Lists by recency need an index, but an index on updated_at would end HOT updates:
    -- every append would write to every index of the table. So a session moves up at most once a minute: a
    -- statement sets listed_at to the present only if it is older than a minute. updated_at is therefore
    -- always less than a minute later than listed_at. An append that moves its session up writes 1.0 kB of
    -- WAL, any other 0.6 kB. With turns of six appends, two minutes apart, 83 % of the updates are HOT.
    listed_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- Counts every change that is not an append, so that a reader that follows sequence numbers notices them.
    revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    archived_at timestamptz,
    -- A fork has the messages of its parent before this number.
    fork_point bigint,
    session_id dal_identifier NOT NULL,
    -- The row of a deleted session stays, with only its id, counters and times. An append finds this row and is
    -- refused, so an append in flight cannot bring a deleted session back.
    status dal_status NOT NULL DEFAULT 'active',
    -- The status that restore() brings back.
    trashed_from text COLLATE "C",
    source dal_identifier,
    user_id dal_identifier,
    parent_id dal_identifier,
    agent_ids text[] COLLATE "C",
    metadata dal_object NOT NULL,

    -- Every statement finds its session by this key, and the tables can be sharded by it.
    CONSTRAINT sessions_pkey PRIMARY KEY (session_id),
    -- Guards the cache: only an archived session's list of agents is final. The one rule about several columns that the
    -- table checks, since nothing would correct a wrong list; it costs an append a tenth of a plain UPDATE and INSERT.
    CONSTRAINT sessions_only_archived_caches CHECK (agent_ids IS NULL OR archived_at IS NOT NULL)
) WITH (
    -- Each page keeps room for the next versions of its rows, so that an append's update stays on the page and
    -- touches no index (HOT), even while a long query elsewhere keeps the old versions alive. The room costs
    -- little: a session's row is small compared with its messages. Measured with ten appends to each of 200
    -- sessions, three of the ten under a held snapshot: 90 % of the updates are HOT with fillfactor 50, 80 %
    -- with 70, 73 % with 90, and 70 % with 100.
    fillfactor = 50,
    -- Every append leaves a dead row version: vacuum after 5 % of the rows, not 20 %.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.1
);

-- Lists by recency: of a status, of a user, from a source, of a parent. For each wanted status, a page scans one of these
-- indexes backwards and stops when it is full. The index has the order of the list, so nothing is sorted,
-- however many sessions were active in the same hour. The predicate of the first index is true for every row;
-- only lists of all sessions repeat it. It keeps the planner from scanning this index for the few sessions of
-- one user.
CREATE INDEX IF NOT EXISTS sessions_listed ON sessions (status, listed_at, session_id)
WHERE status <> '';
CREATE INDEX IF NOT EXISTS sessions_listed_of_user ON sessions (user_id, status, listed_at, session_id)
WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_listed_of_source ON sessions (source, status, listed_at, session_id)
WHERE source IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_listed_of_parent ON sessions (parent_id, status, listed_at, session_id)
WHERE parent_id IS NOT NULL;

-- A generic plan is made for the average user, who has few sessions, so the planner would sort all of them.
-- For a user with 30,000 sessions that takes thousands of buffers. With n_distinct = 10 the planner assumes
-- that there are ten users, and scans the index instead. With n_distinct = 2 it expects half of them to have a
-- wanted status: for a page of 20 of 200 sessions, it would otherwise read all of them once some are trashed.
ALTER TABLE sessions
ALTER COLUMN status SET (n_distinct = 2),
ALTER COLUMN user_id SET (n_distinct = 10),
ALTER COLUMN source SET (n_distinct = 10),
ALTER COLUMN parent_id SET (n_distinct = 10);

CREATE TABLE IF NOT EXISTS messages (
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    -- Needs no domain: the foreign key accepts only the id of a session.
    session_id text COLLATE "C" NOT NULL,
    message_id dal_identifier NOT NULL,
    role dal_identifier NOT NULL,
    agent_id dal_identifier,
    content text NOT NULL,
    metadata dal_object NOT NULL,

    -- Serves reads in order, forwards and backwards, from any number.
    CONSTRAINT messages_pkey PRIMARY KEY (session_id, sequence),
    -- A message that is sent twice is stored once. This index also finds a message by its id.
    CONSTRAINT messages_message_id_key UNIQUE (session_id, message_id),
    -- Deleting a session deletes its messages.
    CONSTRAINT messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (session_id)
    ON DELETE CASCADE
);

-- The agents of a session: a loose index scan finds each of them by one lookup, however long the session is.
-- The five agents of 10,000 messages take 25 buffers; a GROUP BY takes 193. The index is partial, since a
-- user's messages have no agent.
CREATE INDEX IF NOT EXISTS messages_by_agent ON messages (session_id, agent_id, sequence)
WHERE agent_id IS NOT NULL;

-- With n_distinct = -0.02 the planner assumes that a session has 50 messages. Otherwise, with statistics from
-- a time when there were few sessions, it would expect no messages in a new session, take any index that begins
-- with session_id, and might read a long session as a whole: 4,071 buffers to remove its last message, instead
-- of 25.
ALTER TABLE messages ALTER COLUMN session_id SET (n_distinct = -0.02), ALTER COLUMN session_id SET STATISTICS 1;

-- Removed messages: the earlier versions of an answer, for example. They have their own table, so that they do not
-- slow down reads of a session. store.purge() deletes old ones.
CREATE TABLE IF NOT EXISTS removed_messages (
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    removed_at timestamptz NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C",
    content text NOT NULL,
    metadata jsonb NOT NULL,

    CONSTRAINT removed_messages_pkey PRIMARY KEY (session_id, sequence),
    CONSTRAINT removed_messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (session_id)
    ON DELETE CASCADE
);

-- purge() finds the oldest by it.
CREATE INDEX IF NOT EXISTS removed_messages_by_age ON removed_messages (removed_at);

-- One row per change of a session that is not an append. It has two uses: a statement that is sent again because its
-- reply was lost finds that its change was made, and a reader that follows a session finds what it has missed. The
-- table stays small: such changes are rare, a statement that changes nothing writes no row, and each change deletes
-- its session's rows that are older than an hour.
CREATE TABLE IF NOT EXISTS changes (
    revision bigint NOT NULL,
    first_sequence bigint,
    last_sequence bigint,
    messages bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    change_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,

    CONSTRAINT changes_pkey PRIMARY KEY (session_id, change_id),
    CONSTRAINT changes_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (session_id)
    ON DELETE CASCADE,
    CONSTRAINT changes_ids_fit CHECK (length(change_id) BETWEEN 1 AND 255 AND length(kind) BETWEEN 1 AND 255),
    CONSTRAINT changes_are_counted CHECK (
        revision > 0 AND messages >= 0 AND first_sequence BETWEEN 0 AND last_sequence
    )
);

COMMENT ON TABLE dal_schema IS 'The versions of session-dal''s schema that were applied here.';
COMMENT ON COLUMN dal_schema.version IS 'The version; the highest one is in force.';
COMMENT ON COLUMN dal_schema.applied_at IS 'When the version was applied.';
COMMENT ON COLUMN dal_schema.usable_from IS 'The oldest version whose releases can use the tables; null if only releases of the row''s own version can.';

COMMENT ON DOMAIN dal_identifier IS 'An id, a role or a source: 1 to 255 characters, compared as bytes.';
COMMENT ON DOMAIN dal_status IS 'The status of a session.';
COMMENT ON DOMAIN dal_object IS 'A JSON object.';

COMMENT ON TABLE sessions IS 'One row per conversation, created by its first message. The row is the lock for every change in the session.';
COMMENT ON COLUMN sessions.next_sequence IS 'The number of the next message. It never decreases, so a removed number is not used again.';
COMMENT ON COLUMN sessions.message_count IS 'The number of stored messages: next_sequence less the removed ones.';
COMMENT ON COLUMN sessions.updated_at IS 'The time of the last message, removal, or change of status or metadata; reads do not change it. It only decreases if it was more than an hour ahead of the clock.';
COMMENT ON COLUMN sessions.listed_at IS 'The place in lists by recency: updated_at, refreshed at most once a minute.';
COMMENT ON COLUMN sessions.revision IS 'How many times the session was changed by something else than an append.';
COMMENT ON COLUMN sessions.fork_point IS 'If the session is a fork: it has its parent''s messages before this number.';
COMMENT ON COLUMN sessions.trashed_from IS 'The status that a trashed session had, and that restore() brings back.';
COMMENT ON COLUMN sessions.created_at IS 'When the session was stored, in general with its first message.';
COMMENT ON COLUMN sessions.archived_at IS 'When the session was archived; null before.';
COMMENT ON COLUMN sessions.session_id IS 'A ULID, or an id that the service chose, such as a chat''s key.';
COMMENT ON COLUMN sessions.status IS 'active, paused (a mark for the service; messages are still accepted) or archived (final: nothing can be appended or removed); trashed (out of all lists, until it is restored or deleted); deleted (only this row is left).';
COMMENT ON COLUMN sessions.source IS 'The origin of the session, such as telegram.';
COMMENT ON COLUMN sessions.user_id IS 'The user whose session it is.';
COMMENT ON COLUMN sessions.parent_id IS 'The session that this one continues; it may have been deleted since.';
COMMENT ON COLUMN sessions.agent_ids IS 'The agents in order of first appearance; null until the first read after the session was archived caches them here.';
COMMENT ON COLUMN sessions.metadata IS 'Anything that the service keeps with the session; an object.';

COMMENT ON TABLE messages IS 'One row per message, numbered within its session.';
COMMENT ON COLUMN messages.sequence IS 'The message''s number in its session: from 0, without gaps, in the order of the commits.';
COMMENT ON COLUMN messages.created_at IS 'When the message was stored. Never earlier than the previous message, unless the clock was set back by more than an hour.';
COMMENT ON COLUMN messages.session_id IS 'The session.';
COMMENT ON COLUMN messages.message_id IS 'A ULID, or an id that the service chose. A message that is sent again with the same id is stored once.';
COMMENT ON COLUMN messages.role IS 'The role of the speaker: user, assistant, tool or any other.';
COMMENT ON COLUMN messages.agent_id IS 'The agent that speaks; null if none does.';
COMMENT ON COLUMN messages.content IS 'The text of the message.';
COMMENT ON COLUMN messages.metadata IS 'Anything that the service keeps with the message; an object.';

COMMENT ON TABLE removed_messages IS 'Messages that were removed from their sessions, until purge() deletes them.';
COMMENT ON COLUMN removed_messages.sequence IS 'The message''s number in its session; it is not used again.';
COMMENT ON COLUMN removed_messages.created_at IS 'When the message was stored.';
COMMENT ON COLUMN removed_messages.removed_at IS 'When it was removed.';
COMMENT ON COLUMN removed_messages.session_id IS 'The session.';
COMMENT ON COLUMN removed_messages.message_id IS 'As in messages.';
COMMENT ON COLUMN removed_messages.role IS 'As in messages.';
COMMENT ON COLUMN removed_messages.agent_id IS 'As in messages.';
COMMENT ON COLUMN removed_messages.content IS 'As in messages.';
COMMENT ON COLUMN removed_messages.metadata IS 'As in messages.';

COMMENT ON TABLE changes IS 'One row per change of a session that is not an append, for about an hour.';
COMMENT ON COLUMN changes.revision IS 'The session''s revision after the change.';
COMMENT ON COLUMN changes.first_sequence IS 'The number of the first message that it changed; null if it changed none.';
COMMENT ON COLUMN changes.last_sequence IS 'The number of the last message that it changed; null if it changed none.';
COMMENT ON COLUMN changes.messages IS 'How many messages it changed.';
COMMENT ON COLUMN changes.changed_at IS 'When the change was made.';
COMMENT ON COLUMN changes.session_id IS 'The session.';
COMMENT ON COLUMN changes.change_id IS 'A ULID that identifies the change, so that it is not made twice.';
COMMENT ON COLUMN changes.kind IS 'What it was: remove, replace, annotate, redact, metadata, pause, resume, archive, trash or restore.';
