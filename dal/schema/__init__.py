"""The tables: the check of their version and definitions, upgrades, and privileges."""
