-- Free the space of the rows that Citus has copied to the shards. Without such rows it does nothing. Run it after the
-- transaction that distributed the tables has committed. With sessions, it also empties messages, which refer to them.
SELECT truncate_local_data_after_distributing_table(t.name::regclass) AS outcome
FROM unnest('{dal_schema,sessions,removed_messages,changes}'::text[]) AS t (name);
