"""What a clip shows, in words, and whether the words can be true."""
