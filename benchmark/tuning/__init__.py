"""Equal tuning: as many trials and steps for every method, and a rule that chooses without looking at the answer."""
