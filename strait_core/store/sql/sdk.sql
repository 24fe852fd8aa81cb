-- What an endpoint asks and says in the middle of an attempt, by its run token. Each statement compares (run, executing,
-- attempt), so a token of an attempt that is over reads and changes nothing.

-- name: payload
SELECT payload FROM strait.runs WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s
