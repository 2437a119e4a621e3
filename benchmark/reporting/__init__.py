"""From the runs of a comparison to tables, figures and pages."""
