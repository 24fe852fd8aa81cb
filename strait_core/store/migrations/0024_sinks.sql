-- Sinks of changes are held for a time by one process, and remember what keeps them.

ALTER TABLE strait.change_floor
    -- How many entries the row at that position had; who has read them all has missed nothing.
    ADD COLUMN entries integer NOT NULL DEFAULT 0;

ALTER TABLE strait.change_sinks
    -- Who sends to it, and until when nobody else does; null = anybody may.
    ADD COLUMN held_by       uuid,
    ADD COLUMN held_until    timestamptz,
    ADD COLUMN moved_at      timestamptz,
    -- Attempts in vain since it took something last, when the first was, why the last one was, when to try again.
    ADD COLUMN fails         integer NOT NULL DEFAULT 0,
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN error         text,
    ADD COLUMN is_refused    boolean NOT NULL DEFAULT false,
    ADD COLUMN due_at        timestamptz,
    -- Since when changes are gone that it had not been sent in time; null since it took something.
    ADD COLUMN lost_at       timestamptz;
