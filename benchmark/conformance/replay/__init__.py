"""Train recorded runs again, and check published tables against their runs."""
