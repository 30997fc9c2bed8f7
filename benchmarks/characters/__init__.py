"""Drawn characters, to test what the method promises on people who are known exactly."""
