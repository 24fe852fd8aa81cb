"""The pure heart of Strait (states, definitions, policies) and, in `store`, its PostgreSQL statements."""

# The one place where the version is written: the build reads it here, and so does whoever tells it. A literal, because
# asking the installed metadata would cost `strait --version` more than everything else it does.
__version__ = "0.1.0"
