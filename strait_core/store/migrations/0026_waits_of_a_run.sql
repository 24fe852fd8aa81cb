-- Whoever ends a run, or lets it go on, asks for all that it waits for.
CREATE INDEX waits_run ON strait.waits (run_id);
