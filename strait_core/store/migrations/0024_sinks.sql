-- Sinks of changes are held for a time by one process, and remember what keeps them.

-- How many entries the row at that position had; who has read them all has missed nothing.
ALTER TABLE strait.change_floor ADD COLUMN entries integer;
UPDATE strait.change_floor SET entries = 0;
ALTER TABLE strait.change_floor ALTER COLUMN entries SET NOT NULL;

-- Nothing has been sent to any sink yet.
DELETE FROM strait.change_sinks;
ALTER TABLE strait.change_sinks
    -- Who sends to it, and until when nobody else does; null = anybody may.
    ADD COLUMN held_by       uuid,
    ADD COLUMN held_until    timestamptz,
    ADD COLUMN moved_at      timestamptz,
    -- Attempts in vain since it took something last, when the first was, why the last one was, when to try again.
    ADD COLUMN fails         integer NOT NULL,
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN error         text,
    ADD COLUMN is_refused    boolean NOT NULL,
    ADD COLUMN due_at        timestamptz,
    -- Since when changes are gone that it had not been sent in time; null since it took something.
    ADD COLUMN lost_at       timestamptz;
