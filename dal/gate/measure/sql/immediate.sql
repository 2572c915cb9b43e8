-- name: immediate#
-- Check deferred constraints now, since a transaction that is rolled back never reaches its commit.
SET CONSTRAINTS ALL IMMEDIATE;
