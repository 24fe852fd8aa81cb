"""The command line: what a person types, translated to API calls and shown."""
