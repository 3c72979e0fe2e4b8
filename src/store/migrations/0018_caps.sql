-- When a recipient was sent what a frequency cap counts, as a JSON array, oldest first; a tenant counts for itself where the
-- cap says so. Nothing of it matters after `until`.
CREATE TABLE cap_counts (
    env BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    cap TEXT NOT NULL,
    tenant TEXT NOT NULL,
    sent TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (env, recipient, cap, tenant)
);
CREATE INDEX cap_counts_by_end ON cap_counts (until);
