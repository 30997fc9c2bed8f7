"""Checkpoints: written whole or not at all, read without running what they hold."""
