-- Commit the batch, and begin the transaction of the next one.
COMMIT AND CHAIN;
