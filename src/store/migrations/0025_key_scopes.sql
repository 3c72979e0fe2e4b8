-- What a secret key is limited to, as JSON; empty: nothing.
ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT '';
