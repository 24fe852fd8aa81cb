-- Runs that did not succeed, newest first: the dead letters, and what a replay of many looks through. Runs that
-- completed have no entry here, so that an ordinary ending pays nothing for it.
CREATE INDEX run_history_unsuccessful ON strait.run_history (id)
    WHERE status IN ('failed', 'timed_out', 'crashed', 'system_failed', 'dead_letter');
