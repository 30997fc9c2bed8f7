"""What pairing decides with: gates, vectors, constraints, pools, splits."""
