"""Whole histories: what exports, imports and streams have in common on both sides."""
