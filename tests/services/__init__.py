"""One loop each, ticked with a virtual now."""
