"""Whole histories: exports and imports of sessions with their messages."""
