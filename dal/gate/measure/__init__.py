"""Measuring what a query costs as it grows, and holding it to what its file promises."""
