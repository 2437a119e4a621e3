"""Methods: each is a module with one class, found by its name."""
