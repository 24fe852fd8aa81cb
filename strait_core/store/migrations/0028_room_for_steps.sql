-- Every step is written twice, when it begins and when it ends: with room for both on its page the second writing needs
-- no new entries in the indexes. A row lives only as long as its workflow run is under way.
ALTER TABLE strait.workflow_steps SET (fillfactor = 45);
