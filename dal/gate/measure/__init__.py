"""Measure what a query costs as its data grow, and compare it with the promises in its header."""
