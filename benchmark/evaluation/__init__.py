"""Selection rules, statistics and comparisons: pure functions over records."""
