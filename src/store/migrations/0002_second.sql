-- Whose tenant a removed item was: who may not see that tenant's items is not told their ids. Of those removed before, it
-- is not known any more: whoever resumes from before this starts anew.
ALTER TABLE removals ADD COLUMN tenant TEXT;
UPDATE feeds SET forgotten = version WHERE id IN (SELECT feed FROM removals);
DELETE FROM removals;
