"""Work on single pictures: measure, cut out, relight."""
