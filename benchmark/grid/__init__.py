"""The grid: protocol × methods × folds × seeds as jobs with an identity, and the processes that run them."""
