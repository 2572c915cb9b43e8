-- The batch is stored, whoever reads on meanwhile; the next one is in the transaction that begins.
COMMIT AND CHAIN;
