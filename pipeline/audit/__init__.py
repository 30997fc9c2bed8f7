"""Know, show, repair and forget what is in a dataset."""
