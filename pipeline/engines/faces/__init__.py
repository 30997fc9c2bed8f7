"""Faces in pictures: boxes, five points, how far they are turned."""
