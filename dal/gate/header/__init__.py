"""The header of a query: its grammar, its parser, and the promises in it."""
