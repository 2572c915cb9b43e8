"""The performance gate for aiosql query files: it measures the promises in their headers."""
