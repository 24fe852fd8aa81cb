-- Delayed runs and retries come due in an order of their own: whoever promotes looks at both.
DROP INDEX strait.due_order;
CREATE INDEX due_order ON strait.due (moves, due_at);

-- The runs of ticks, among however many others a job has.
CREATE INDEX runs_ticks ON strait.runs (job_id, id) WHERE fire_at IS NOT NULL;
