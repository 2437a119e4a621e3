"""Jobs as tasks of Slurm: the MLflow store says what is true of a job, Slurm only which tasks are alive."""
