-- What is known of endpoints: repeated errors, the fallback.

ALTER TABLE strait.runs
    -- What the last error of the endpoint looked like, and how often in a row it came; kept only for jobs that ask.
    ADD COLUMN error_fingerprint bigint,
    ADD COLUMN error_streak smallint;

-- Why the attempt went to the fallback (null = it did not).
ALTER TABLE strait.attempts ADD COLUMN fallback text;
