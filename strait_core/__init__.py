"""The pure heart of Strait (states, definitions, policies) and, in `store`, its PostgreSQL statements."""
