"""A local page to look through a dataset: samples, characters, rejects, funnel, tags."""
