"""The tables: which version they are, how they may differ, how to upgrade them, and who may use them."""
