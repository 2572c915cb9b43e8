"""The review pages: each query with its promises, measurements, plans and locks, as static HTML."""
