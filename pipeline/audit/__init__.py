"""What is in a dataset and why: checks, report, repair, comparison. Reads any dataset of our schema."""
