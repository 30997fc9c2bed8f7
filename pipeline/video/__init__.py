"""Turn decoded frames upright, to size, and into clips."""
