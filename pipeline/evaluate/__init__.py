"""Measure generated videos: protocols, measures, controls, report; benchmark and user study."""
