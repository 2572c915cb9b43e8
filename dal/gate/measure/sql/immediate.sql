-- name: immediate#
-- Check now what would be checked at the commit, which a transaction that is rolled back never comes to.
SET CONSTRAINTS ALL IMMEDIATE;
