"""People in pictures: boxes, and the tracker that joins them over time."""
