"""Studies in Optuna's own storage: who tries which setting, and when a trial is given up."""
