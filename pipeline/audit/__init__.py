"""What is in a dataset and why: checks, report, repair, comparison."""
