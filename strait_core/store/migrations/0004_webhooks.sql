-- The outbox of webhooks: written by the statement that ends a run, emptied by a service.
-- `run` is the run as it ended, a row of run_history as JSON; null for a delivery that only tests the way.
CREATE TABLE strait.webhook_deliveries (
    id           uuid PRIMARY KEY,
    project_id   text NOT NULL,
    job_id       uuid NOT NULL,
    run_id       uuid,
    type         text NOT NULL,
    status       text NOT NULL CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts     integer NOT NULL,
    created_at   timestamptz NOT NULL,
    -- When it is tried next, or, while it is being tried, when somebody else may.
    due_at       timestamptz,
    delivered_at timestamptz,
    http_status  integer,
    error        text,
    run          text,
    CHECK ((status = 'pending') = (due_at IS NOT NULL))
);
CREATE INDEX webhook_deliveries_due ON strait.webhook_deliveries (due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_run ON strait.webhook_deliveries (run_id) WHERE run_id IS NOT NULL;
