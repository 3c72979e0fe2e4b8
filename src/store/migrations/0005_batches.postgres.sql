-- Rows that are written again and again keep to their pages, and what was there before is cleared away soon.
ALTER TABLE batches SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
