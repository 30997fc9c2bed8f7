"""One number for a picture: pleasing, unsafe, watermarked, lettered."""
