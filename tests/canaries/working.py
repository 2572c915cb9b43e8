"""Work that buffer counts do not show: CPU time, sleeps, and temporary files."""

from canaries.canary import quick

_ON_INSERT = """
CREATE TRIGGER work AFTER INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'user') EXECUTE FUNCTION work();
"""

_LOOP = """
CREATE FUNCTION work() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hash text := NEW.content;
BEGIN
    FOR n IN 1..150000 LOOP hash := md5(hash); END LOOP;
    RETURN NEW;
END $$;
"""

_SLEEP = """
CREATE FUNCTION work() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0001); RETURN NEW; END $$;
"""

_SORT = "(SELECT count(*) FROM (SELECT n FROM generate_series(1, 200000) AS n ORDER BY -n) AS sorted)"

_SLOW = """
CREATE FUNCTION slow(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0001); RETURN true; END $$;
"""

_MINE = "s.user_id IS NOT DISTINCT FROM :owner::text);"
_PAGE = "    LIMIT :limit::bigint\n"

WORKING = {
    "a sort of generated rows": quick(
        "sessions.get", "at most 10 ms of CPU", (_MINE, f"{_MINE[:-1]} AND {_SORT} > 0;")
    ),
    "generated rows that are only counted": quick(
        "messages.get",
        "at most 10 ms of CPU",
        (
            "m.message_id = :message_id::text",
            "m.message_id = :message_id::text AND (SELECT count(*) > 0 FROM generate_series(1, 300000))",
        ),
    ),
    "a trigger that calculates": quick("messages.append", "at most 10 ms of CPU", schema=_LOOP + _ON_INSERT),
    "a sleep": quick("sessions.get", "no sleeps", (_MINE, f"{_MINE[:-1]} AND pg_sleep(0.001)::text = '';")),
    "a sleep for each row": quick(
        "sessions.list",
        "no sleeps",
        ("s.status = wanted.status", "s.status = wanted.status AND slow(s.session_id)"),
        schema=_SLOW,
    ),
    "a sleep in a trigger": quick("messages.append", "no sleeps", schema=_SLEEP + _ON_INSERT),
    "a sort that spills": quick("sessions.get", "no temporary bytes", (_MINE, f"{_MINE[:-1]} AND {_SORT} > 0;")),
    "a set that spills": quick(
        "messages.latest",
        "no temporary bytes",
        (
            "LIMIT :limit::bigint",
            "LIMIT :limit::bigint + 0 * (SELECT count(*) FROM generate_series(1, 300000))",
        ),
    ),
}
