"""From the files of a dataset to the batches of a step. Imports nothing of the pipeline."""
