"""The same person in another light, pose or place, and the gate that checks it."""
