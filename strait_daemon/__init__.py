"""The daemon: API, workers and services over the core and its store."""
