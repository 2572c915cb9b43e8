CREATE TABLE tasks (
    task_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_id text NOT NULL,
    title text NOT NULL,
    done boolean NOT NULL DEFAULT false
);

CREATE INDEX tasks_open ON tasks (list_id, task_id) WHERE NOT done;
