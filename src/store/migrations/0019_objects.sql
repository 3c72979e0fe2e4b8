-- The objects of a collection, newest first.
CREATE INDEX objects_by_time ON objects (env, collection, inserted_at, id);

-- What a tenant is called, by which tenants are looked for; of other objects it is nothing.
ALTER TABLE objects ADD COLUMN tenant_name TEXT;
CREATE INDEX tenants_by_name ON objects (env, tenant_name, inserted_at, id) WHERE tenant_name IS NOT NULL;
UPDATE objects SET tenant_name = properties ->> '$.name' WHERE collection = '$tenants';
