-- The feed of changes.

-- name: tell
INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
VALUES (%(now)s, '[]', %(kind)s, %(project)s, ARRAY[%(id)s::uuid], ARRAY[%(owner)s::uuid], ARRAY[%(seq)s::integer],
    ARRAY[%(status)s::text])

-- name: page
-- A batch's entries in their order. What all of them have in common stands there once.
SELECT c.position, e.entry::integer, c.kind, e.id, c.owners[least(e.entry, cardinality(c.owners))],
    coalesce(c.project_id, j.project_id), c.seqs[least(e.entry, cardinality(c.seqs))],
    c.attempts[least(e.entry, cardinality(c.attempts))], c.statuses[least(e.entry, cardinality(c.statuses))], c.at
FROM strait.changes c CROSS JOIN LATERAL unnest(c.ids) WITH ORDINALITY AS e(id, entry)
LEFT JOIN strait.jobs j ON c.project_id IS NULL AND j.id = c.owners[least(e.entry, cardinality(c.owners))]
WHERE c.position >= %(position)s AND c.position <= %(upto)s AND (c.position > %(position)s OR e.entry > %(entry)s)
    AND (%(kinds)s::text[] IS NULL OR c.kind = ANY(%(kinds)s))
    AND (%(project)s::text IS NULL OR coalesce(c.project_id, j.project_id) = %(project)s)
ORDER BY c.position, e.entry LIMIT %(limit)s

-- name: head
SELECT coalesce(max(position), (SELECT position FROM strait.change_floor)) FROM strait.changes

-- name: floor
SELECT position, entries FROM strait.change_floor
