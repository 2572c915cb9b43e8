-- name: add(list_id, title)<!
-- Add a task to a list.
-- Promises: 1 round trip; buffers O(log n) in the list's tasks; WAL O(1) in the list's tasks;
--   at most 11 buffers; at most 6 WAL records
-- Locks: RowExclusive on tasks
-- Never: Seq Scan
INSERT INTO tasks (list_id, title) VALUES (:list_id::text, :title::text)
RETURNING task_id;

-- name: finish(task_id)!
-- Tick a task off.
-- Promises: 1 round trip; buffers O(log n) in the list's tasks, at most 15 buffers; at most 6 WAL records
-- Locks: RowExclusive on tasks; 1 row of tasks
-- Never: Seq Scan
UPDATE tasks SET done = true
WHERE task_id = :task_id::bigint;

-- name: open_tasks(list_id, after)
-- Read the next ten open tasks of a list.
-- Promises: 1 round trip; buffers O(log n) in the list's tasks; rows O(1) in the list's tasks; at most 5 buffers
-- Locks: AccessShare on tasks
-- Never: Seq Scan; Sort
SELECT
    t.task_id,
    t.title
FROM tasks AS t
WHERE t.list_id = :list_id::text AND NOT t.done AND t.task_id > :after::bigint
ORDER BY t.task_id
LIMIT 10;
