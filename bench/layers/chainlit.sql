-- The tables that Chainlit's SQLAlchemy data layer expects. It does not make them: the columns are those of its
-- documentation (docs.chainlit.io/data-layers/sqlalchemy), which names no index but the primary keys.
CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY,
    identifier text NOT NULL UNIQUE,
    metadata jsonb NOT NULL,
    "createdAt" text
);

CREATE TABLE IF NOT EXISTS threads (
    id uuid PRIMARY KEY,
    "createdAt" text,
    name text,
    "userId" uuid REFERENCES users (id) ON DELETE CASCADE,
    "userIdentifier" text,
    tags text[],
    metadata jsonb
);

CREATE TABLE IF NOT EXISTS steps (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    type text NOT NULL,
    "threadId" uuid NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    "parentId" uuid,
    streaming boolean NOT NULL,
    "waitForAnswer" boolean,
    "isError" boolean,
    metadata jsonb,
    tags text[],
    input text,
    output text,
    "createdAt" text,
    command text,
    start text,
    "end" text,
    generation jsonb,
    "showInput" text,
    language text,
    indent integer,
    "defaultOpen" boolean,
    modes jsonb
);

CREATE TABLE IF NOT EXISTS elements (
    id uuid PRIMARY KEY,
    "threadId" uuid REFERENCES threads (id) ON DELETE CASCADE,
    type text,
    url text,
    "chainlitKey" text,
    name text NOT NULL,
    display text,
    "objectKey" text,
    size text,
    page integer,
    language text,
    "forId" uuid,
    mime text,
    props jsonb
);

CREATE TABLE IF NOT EXISTS feedbacks (
    id uuid PRIMARY KEY,
    "forId" uuid NOT NULL,
    "threadId" uuid NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    value integer NOT NULL,
    comment text
);
