-- A batch of a hundred runs is more than the two kilobytes from which PostgreSQL compresses a row and puts parts of it
-- elsewhere: its ids are random in their larger half, and every delta is read and deleted within a second or two.
ALTER TABLE strait.stats_deltas SET (toast_tuple_target = 8160);
ALTER TABLE strait.stats_deltas ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN owners SET STORAGE EXTERNAL;
-- What is published is copied so; each partition sets its own target when it is made.
ALTER TABLE strait.changes ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN owners SET STORAGE EXTERNAL;
