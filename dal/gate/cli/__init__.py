"""The commands of the gate: `dal check` and `dal review`."""
