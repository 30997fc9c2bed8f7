"""What a row is: one Arrow schema per table. Imports nothing of ours but itself."""
