-- Commit this batch, and begin the transaction of the next one. This is sent before the next lines are read, so that a
-- slow file does not delay the commit.
COMMIT AND CHAIN;
