"""Errors, files, texts and the console: what all other packages use."""
