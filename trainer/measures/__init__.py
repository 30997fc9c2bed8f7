"""What training costs and what it reports: FLOPs, memory, speed, curves."""
