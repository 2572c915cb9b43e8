"""The schema: check that the tables match this release, upgrade them, and grant privileges on them."""
