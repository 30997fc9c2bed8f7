"""Remove a person or a video from everything in a dataset, and prove that it is gone."""
