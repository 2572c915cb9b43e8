-- Version 4: existing sessions get their place in lists.
--
-- Run: each statement on its own, outside a transaction. The one statement commits after every 500 sessions, and can be
--   run again after an interruption. A writer waits at most for the batch of 500 that contains its session.
-- Locks: RowExclusive on sessions; 500 rows of sessions at a time, in the order of their ids, as append_all does.
--
--     psql --set ON_ERROR_STOP=1 --file 0004_fill_listed_at.sql
DO $$
DECLARE
    found integer;
    last text := '';
    unfilled text[];
BEGIN
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> 3 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 3',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
    WHILE last IS NOT NULL LOOP
        PERFORM set_config('lock_timeout', '250ms', true);
        SELECT max(s.session_id), array_agg(s.session_id) FILTER (WHERE s.listed_at = '-infinity')
        INTO last, unfilled
        FROM (
            SELECT
                s.session_id,
                s.listed_at
            FROM sessions AS s
            WHERE s.session_id > last
            ORDER BY s.session_id
            LIMIT 500
        ) AS s;
        -- Lock them in order and check again: a writer may have set listed_at in the meantime.
        unfilled := array(
            SELECT s.session_id
            FROM sessions AS s
            WHERE s.session_id = any(unfilled) AND s.listed_at = '-infinity'
            ORDER BY s.session_id
            FOR NO KEY UPDATE
        );
        UPDATE sessions AS s SET listed_at = least(s.updated_at, statement_timestamp())
        WHERE s.session_id = any(unfilled);
        COMMIT;
    END LOOP;
    INSERT INTO dal_schema (version, usable_from) VALUES (4, 1);
END
$$;
