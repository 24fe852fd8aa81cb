-- The end of a step touches no index: none of them speaks of its state.
DROP INDEX strait.workflow_steps_event;
CREATE INDEX workflow_steps_event ON strait.workflow_steps (event_id) WHERE event_id IS NOT NULL;
