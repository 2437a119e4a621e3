"""What each command does, between the parsed arguments and the rooms. Heavy imports stand inside the functions."""
