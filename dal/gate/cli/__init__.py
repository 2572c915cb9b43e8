"""The commands of the gate: `dal check`, `dal review` and `dal init`."""
