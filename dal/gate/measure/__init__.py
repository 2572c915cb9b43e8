"""Measure how the cost of a query grows with its data, and compare it with the promises in its header."""
