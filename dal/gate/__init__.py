"""The performance gate for aiosql query files: their promises, and the tools that measure them."""
