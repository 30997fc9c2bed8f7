"""Which pixels are the person."""
