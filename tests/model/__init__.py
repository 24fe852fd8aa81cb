"""The whole life of a run, drawn at random: the database beside a small model of it, compared after every step."""
