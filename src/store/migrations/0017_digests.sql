-- The messages that a run had made before it came to a digest, as a JSON array of their ids: what has become of them may say
-- whether it counts. None for batches.
ALTER TABLE batch_activities ADD COLUMN told TEXT;
