"""Faults of networks, servers and callers, injected while writers write: see docs/faults.md."""
