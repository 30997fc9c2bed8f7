"""What each part of the method does, in a world where it can be measured in minutes."""
