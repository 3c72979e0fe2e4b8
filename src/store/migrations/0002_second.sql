-- Whose tenant a removed item was: who may not see that tenant's items is not told their ids. Of those removed before, it
-- is not known any more: whoever resumes from before this starts anew.
ALTER TABLE removals ADD COLUMN tenant TEXT;
UPDATE feeds SET forgotten = version WHERE id IN (SELECT feed FROM removals);
DELETE FROM removals;

-- Messages that stand in no feed, by whose they are; an item of a feed costs this index nothing.
CREATE INDEX messages_alone ON messages (env, recipient, n) WHERE feed IS NULL;

-- How far a job has come that is done in parts, in its own terms.
ALTER TABLE jobs ADD COLUMN progress TEXT;

-- What a bulk operation is to do stands apart from how far it has come: the one may be long, the other is written with
-- every part. Those under way start anew.
CREATE TABLE bulk_specs (
    operation TEXT PRIMARY KEY,
    spec TEXT NOT NULL
);
INSERT INTO bulk_specs SELECT id, spec FROM bulk_operations;
ALTER TABLE bulk_operations DROP COLUMN spec;
ALTER TABLE bulk_operations DROP COLUMN progress;

-- Whose feeds are whose, in every channel: for the deletion of a user.
CREATE INDEX feeds_by_recipient ON feeds (env, recipient);
