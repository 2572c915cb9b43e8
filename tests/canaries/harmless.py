"""Rewrites and additions that keep every promise: the gate must pass them."""

from canaries.canary import Canary, quick

HARMLESS: dict[str, Canary] = {
    "a BRIN index on times": Canary(
        "messages.append",
        "WAL O(1) in the session's messages",
        schema="CREATE INDEX by_time ON messages USING brin (created_at);",
    ),
    "a BRIN index on times, for a batch": Canary(
        "messages.append_all",
        "WAL O(n) in the given messages",
        schema="CREATE INDEX by_time ON messages USING brin (created_at);",
    ),
    "a partial index that the append does not write": quick(
        "messages.append", "", schema="CREATE INDEX by_tool ON messages (created_at) WHERE role = 'tool';"
    ),
    "a trigger for other roles": quick(
        "messages.append",
        "",
        schema="CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER nothing AFTER INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'tool')"
        " EXECUTE FUNCTION nothing();",
    ),
    "an extra constraint": quick(
        "messages.append", "", schema="ALTER TABLE messages ADD CONSTRAINT short CHECK (length(content) < 1000000);"
    ),
    "an extra column": quick(
        "sessions.update_metadata", "", schema="ALTER TABLE sessions ADD COLUMN stars integer NOT NULL DEFAULT 0;"
    ),
    "a view and finer statistics": quick(
        "sessions.get",
        "",
        schema="CREATE VIEW live AS SELECT session_id FROM sessions WHERE status = 'active';"
        "ALTER TABLE sessions ALTER COLUMN user_id SET STATISTICS 1000;",
    ),
    "a condition written differently": quick(
        "sessions.get",
        "",
        ("WHERE s.session_id = :session_id::text", "WHERE s.session_id IN (VALUES (:session_id::text))"),
    ),
    "another order of conditions": quick(
        "messages.get",
        "",
        (
            "m.message_id = :message_id::text",
            ":message_id::text = m.message_id",
        ),
    ),
    "a few generated rows": quick(
        "sessions.get",
        "",
        (
            "s.user_id IS NOT DISTINCT FROM :owner::text);",
            "s.user_id IS NOT DISTINCT FROM :owner::text)\n    AND EXISTS (SELECT FROM generate_series(1, 100));",
        ),
    ),
    "a comment inside the query": quick("messages.latest", "", ("SELECT\n", "SELECT /* the latest */\n")),
}
