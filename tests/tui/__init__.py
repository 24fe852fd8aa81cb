"""The views that fill a terminal: keys, pictures, pace."""
