"""Training again what was trained before, and looking whether a published table is that of its runs."""
