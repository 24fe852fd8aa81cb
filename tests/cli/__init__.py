"""Commands, parsing and rendering."""
