-- Log lines of endpoints.

-- name: add_lines
-- Takes a batch of lines of many runs. The update of a run both checks that the attempt is the live one and counts: its
-- row lock makes the order of the numbers the order of the commits, so who reads on from a number misses nothing.
WITH items AS MATERIALIZED (
    SELECT i.*, row_number() OVER (PARTITION BY i.run_id, i.attempt ORDER BY i.n) AS place
    FROM jsonb_to_recordset(%(batch)b::jsonb) AS i(n integer, run_id uuid, attempt integer, at timestamptz, level text,
        message text, data text)
), counts AS MATERIALIZED (
    SELECT run_id, attempt, count(*)::integer AS lines FROM items GROUP BY 1, 2
), held AS (
    UPDATE strait.runs r SET note_seq = coalesce(r.note_seq, 0) + c.lines FROM counts c
    WHERE r.id = ANY(ARRAY(SELECT run_id FROM counts)) AND r.id = c.run_id
        AND r.status = 'executing' AND r.attempt = c.attempt
    RETURNING r.id, r.attempt, r.note_seq - c.lines AS before
), stored AS (
    INSERT INTO strait.run_logs (run_id, seq, attempt, at, level, message, data, keep)
    SELECT h.id, h.before + i.place, h.attempt, i.at, i.level, i.message, i.data, 'long'
    FROM items i JOIN held h ON h.id = i.run_id AND h.attempt = i.attempt
)
SELECT id, attempt FROM held

-- name: lines
SELECT seq, attempt, at, level, message, data FROM strait.run_logs
WHERE run_id = %(id)s AND at >= %(made_at)s AND seq > %(after)s
    AND (%(levels)s::text[] IS NULL OR level = ANY(%(levels)s::text[]))
ORDER BY seq LIMIT %(limit)s
