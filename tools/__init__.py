"""What make runs beside the installed tools: set up, lock, audit, generate pages. Nothing here ships."""
