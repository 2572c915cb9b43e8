-- As take.sql, for tables that are distributed over a cluster.
SELECT dal_import_take();
