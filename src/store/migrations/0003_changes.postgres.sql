-- Which feeds have changed of late, and in which transaction: what a node reads to find what the bus has not told it.
-- Without a log of its own: after a crash every node looks at all its feeds anyway.
CREATE UNLOGGED TABLE changes (
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    feed BIGINT NOT NULL
);
CREATE INDEX changes_by_tx ON changes (tx);
-- Emptied with it, so that a node can tell: whoever finds it empty names a new life.
CREATE UNLOGGED TABLE changes_life (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    life TEXT NOT NULL
);

CREATE FUNCTION note_feed_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (feed) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER feeds_changed AFTER INSERT OR UPDATE OF version ON feeds
    FOR EACH ROW EXECUTE FUNCTION note_feed_change();

-- Rows that are written again and again keep to their pages, and what was there before is cleared away soon.
ALTER TABLE feeds SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE jobs SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE changes SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
