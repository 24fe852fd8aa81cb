"""Runs on their way out: claims them, calls their endpoints, writes how the attempts ended."""
