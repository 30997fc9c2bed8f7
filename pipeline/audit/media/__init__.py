"""Checks of pictures: clips are decoded, references and masks opened, in a sandbox."""
