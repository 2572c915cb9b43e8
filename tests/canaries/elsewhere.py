"""Work in schemas other than that of the tables."""

from canaries.canary import quick

_AUDIT = """
CREATE SCHEMA IF NOT EXISTS canary_audit;
CREATE TABLE IF NOT EXISTS canary_audit.log (session_id text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO canary_audit.log VALUES (NEW.session_id);
    RETURN NEW;
END $$;
"""

ELSEWHERE = {
    "an audit trigger": quick(
        "messages.append",
        "no lock on canary_audit.log",
        schema=_AUDIT + "CREATE TRIGGER audit AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION audit();",
    ),
    "a deferred audit trigger": quick(
        "sessions.pause",
        "no lock on canary_audit.log",
        schema=_AUDIT + "CREATE CONSTRAINT TRIGGER audit AFTER UPDATE ON sessions DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION audit();",
    ),
    "a read from another schema": quick(
        "sessions.get",
        "no lock on canary_audit.log",
        (
            "s.user_id IS NOT DISTINCT FROM :owner::text);",
            (
                "s.user_id IS NOT DISTINCT FROM :owner::text)\n"
                "AND NOT EXISTS (SELECT FROM canary_audit.log AS l WHERE l.session_id = s.session_id);"
            ),
        ),
        schema=_AUDIT,
    ),
}
