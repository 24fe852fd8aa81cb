"""The views that fill a terminal. Nothing here is imported before one of them opens: textual takes a quarter second."""
