"""Every fault that a network, a server and a caller can produce, while writers write: see docs/faults.md."""
