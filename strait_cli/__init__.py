"""The command line: what a person types, translated to API calls and shown."""

from strait_core import __version__ as __version__
