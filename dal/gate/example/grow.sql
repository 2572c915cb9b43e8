-- name: grow(list_id, tasks)!
-- Add tasks to a list, every third of them done.
INSERT INTO tasks (list_id, title, done)
SELECT
    :list_id::text AS list_id,
    'task ' || g.n AS title,
    mod(g.n, 3) = 0 AS done
FROM generate_series(1, :tasks::bigint) AS g (n);
