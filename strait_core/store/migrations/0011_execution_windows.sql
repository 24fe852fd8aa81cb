-- Execution windows: from when until when a job's runs may start. Outside of it they are not claimed. The interval that
-- is open now or the next one, kept ahead by a service; null for a job without a window.
ALTER TABLE strait.jobs
    ADD COLUMN open_from timestamptz,
    ADD COLUMN open_until timestamptz,
    -- When the interval has to be looked at again.
    ADD COLUMN window_due_at timestamptz,
    ADD CONSTRAINT jobs_window CHECK ((open_from IS NULL) = (open_until IS NULL));
CREATE INDEX jobs_window_due ON strait.jobs (window_due_at) WHERE window_due_at IS NOT NULL;
