"""Make videos: the sampler, the pipeline around it, what goes in and what comes out."""
