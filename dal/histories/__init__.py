"""Whole histories: what streams, exports and imports have in common on both sides."""
