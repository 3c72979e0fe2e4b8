-- What signs the tokens of pages that users see without a key of their own, such as that of their preferences.
CREATE TABLE page_keys (
    kid TEXT PRIMARY KEY,
    env BIGINT NOT NULL,
    material TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);
CREATE INDEX page_keys_by_env ON page_keys (env, created_at);
