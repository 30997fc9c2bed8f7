"""Who it is: vectors whose cosine says how alike two people are."""
