"""The review pages: each query with its promises, what was measured, its plans and its locks, as static HTML."""
