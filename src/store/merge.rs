//! What is one user's becomes another's, who is the same person.

use super::Env;
use super::db::Batch;
use super::feeds::counted;
use super::runs::UNFINISHED;
use crate::model::time::Time;
use crate::params;

/// Two users who are one: the ids of who is gone and of who stays, and the instant from which on what was told is kept.
#[derive(Debug, Clone, Copy)]
pub struct Merger<'a> {
    pub env: Env,
    pub from: &'a str,
    pub into: &'a str,
    pub since: Time,
    pub now: Time,
}

// Where the planner might take an index that holds all it needs for as good as the one on whose rows they are, rows are
// found by what that one gives.
impl Batch {
    /// Adds that both users are there, and that until the commit nobody changes either, nor what stands in their feeds.
    pub fn take_users(&mut self, env: Env, one: &str, other: &str) {
        for id in [one.min(other), one.max(other)] {
            self.require("SELECT 1 FROM users WHERE env = ?1 AND id = ?2 /* take */", params![env, id]);
        }
        self.returning(
            "SELECT id FROM feeds WHERE env = ?1 AND recipient IN (?2, ?3) ORDER BY id /* take */",
            params![env, one, other],
        );
    }

    /// Adds that what is one user's is the other's, as far as the other has nothing of the kind (F-USR-15). Both have been
    /// taken, and what stays behind is to be deleted.
    pub fn hand_over(&mut self, merger: &Merger<'_>) {
        self.hand_over_settings(merger);
        self.hand_over_history(merger);
        self.hand_over_messages(merger);
        self.hand_over_acts(merger);
    }

    /// Who they are, whom they follow, and where they belong.
    fn hand_over_settings(&mut self, &Merger { env, from, into, now, .. }: &Merger<'_>) {
        for sql in [
            "INSERT INTO preference_sets (env, recipient, set_id, body, updated_at) \
             SELECT s.env, CAST(?3 AS TEXT), s.set_id, s.body, CAST(?4 AS BIGINT) FROM preference_sets s \
             WHERE s.env = ?1 AND s.recipient = ?2 ON CONFLICT (env, recipient, set_id) DO NOTHING",
            "INSERT INTO channel_data (env, recipient, channel, data, updated_at) \
             SELECT d.env, CAST(?3 AS TEXT), d.channel, d.data, CAST(?4 AS BIGINT) FROM channel_data d \
             WHERE d.env = ?1 AND d.recipient = ?2 ON CONFLICT (env, recipient, channel) DO NOTHING",
            "UPDATE schedules SET recipient = ?3, rev = rev + 1, updated_at = ?4 WHERE env = ?1 AND recipient = ?2",
        ] {
            self.push(sql, params![env, from, into, now]);
        }
        // What one has done with a guide, however long ago, keeps the other from being shown it again.
        self.push(
            "UPDATE messages SET recipient = ?3, version = version + 1, updated_at = ?4 WHERE id IN (SELECT g.message \
             FROM guide_engagements g WHERE g.env = ?1 AND g.user_id = ?2 AND NOT EXISTS (SELECT 1 FROM guide_engagements o \
             WHERE o.env = g.env AND o.user_id = ?3 AND o.guide = g.guide AND o.tenant = g.tenant AND o.step_ref = g.step_ref))",
            params![env, from, into, now],
        );
        for sql in [
            "INSERT INTO guide_engagements (env, user_id, guide, tenant, step_ref, message, is_final, throttles_at) \
             SELECT g.env, CAST(?3 AS TEXT), g.guide, g.tenant, g.step_ref, g.message, g.is_final, g.throttles_at \
             FROM guide_engagements g WHERE g.env = ?1 AND g.user_id = ?2 \
             ON CONFLICT (env, user_id, guide, tenant, step_ref) DO NOTHING",
            "INSERT INTO guide_members (env, guide, user_id, tenant, added_at) \
             SELECT g.env, g.guide, CAST(?3 AS TEXT), g.tenant, g.added_at FROM guide_members g \
             WHERE g.env = ?1 AND g.user_id = ?2 ON CONFLICT (env, user_id, guide, tenant) DO NOTHING",
            // Whoever is being told of an object goes through its followers by their places.
            "UPDATE subscriptions SET recipient = ?3 WHERE n IN \
             (SELECT s.n FROM subscriptions s WHERE s.env = ?1 AND s.recipient = ?2) AND NOT EXISTS \
             (SELECT 1 FROM subscriptions o WHERE o.env = ?1 AND o.object = subscriptions.object AND o.recipient = ?3)",
            // Who is a member of the others is a matter of what they are.
            "INSERT INTO audience_members (env, audience, slot, user_id, token, added_at) \
             SELECT m.env, m.audience, CAST(?3 AS TEXT) || substr(m.slot, length(m.user_id) + 1), CAST(?3 AS TEXT), m.token, m.added_at \
             FROM audience_members m JOIN audiences a ON a.env = m.env AND a.key = m.audience \
             WHERE m.env = ?1 AND m.user_id = ?2 AND a.is_dynamic = 0 ON CONFLICT (env, audience, slot) DO NOTHING",
            "INSERT INTO last_seen (env, user_id, at) SELECT l.env, CAST(?3 AS TEXT), l.at FROM last_seen l \
             WHERE l.env = ?1 AND l.user_id = ?2 \
             ON CONFLICT (env, user_id) DO UPDATE SET at = excluded.at WHERE excluded.at > last_seen.at",
        ] {
            self.push(sql, params![env, from, into]);
        }
    }

    /// What has run for them, and how often of late.
    fn hand_over_history(&mut self, &Merger { env, from, into, since, now }: &Merger<'_>) {
        self.push(
            "INSERT INTO run_once (env, recipient, workflow, scope) SELECT o.env, CAST(?3 AS TEXT), o.workflow, o.scope \
             FROM run_once o WHERE o.env = ?1 AND o.recipient = ?2 ON CONFLICT (env, recipient, workflow, scope) DO NOTHING",
            params![env, from, into],
        );
        self.push(
            "INSERT INTO throttles (env, recipient, workflow, step_ref, key, closes_at, passed) \
             SELECT t.env, CAST(?3 AS TEXT), t.workflow, t.step_ref, t.key, t.closes_at, t.passed FROM throttles t \
             WHERE t.env = ?1 AND t.recipient = ?2 AND t.closes_at > ?4 \
             ON CONFLICT (env, recipient, workflow, step_ref, key) DO UPDATE SET \
             passed = excluded.passed + CASE WHEN throttles.closes_at > ?4 THEN throttles.passed ELSE 0 END, \
             closes_at = CASE WHEN throttles.closes_at > excluded.closes_at THEN throttles.closes_at ELSE excluded.closes_at END",
            params![env, from, into, now],
        );
        self.push(
            "INSERT INTO cap_counts (env, recipient, cap, tenant, sent, until) \
             SELECT c.env, CAST(?3 AS TEXT), c.cap, c.tenant, c.sent, c.until FROM cap_counts c WHERE c.env = ?1 AND c.recipient = ?2 \
             ON CONFLICT (env, recipient, cap, tenant) DO UPDATE SET \
             sent = substr(cap_counts.sent, 1, length(cap_counts.sent) - 1) || ',' || substr(excluded.sent, 2), \
             until = CASE WHEN cap_counts.until > excluded.until THEN cap_counts.until ELSE excluded.until END",
            params![env, from, into],
        );
        self.push(
            format!(
                "UPDATE runs SET recipient = ?3, rev = rev + 1 WHERE env = ?1 AND recipient = ?2 AND +inserted_at >= ?4 \
                 AND NOT ({UNFINISHED})"
            ),
            params![env, from, into, since],
        );
    }

    /// What they were told, each item of a feed where its time puts it. The items behind the first one that comes get new
    /// places, and bells that are open look at everything anew.
    fn hand_over_messages(&mut self, &Merger { env, from, into, since, now }: &Merger<'_>) {
        const KEPT: &str = "(m.feed IN (SELECT f.id FROM feeds f WHERE f.env = ?1 AND f.recipient = ?2) \
             OR (m.feed IS NULL AND m.env = ?1 AND m.recipient = ?2)) AND +m.inserted_at >= ?3";
        // What came together in them stays with them, and nothing more comes.
        self.push(
            format!(
                "UPDATE batches SET recipient = ?4, is_open = 0, rev = rev + 1 \
                 WHERE id IN (SELECT m.batch FROM messages m WHERE {KEPT})"
            ),
            params![env, from, since, into],
        );
        self.push(
            "UPDATE messages SET recipient = ?3, version = version + 1, updated_at = ?5 \
             WHERE feed IS NULL AND env = ?1 AND recipient = ?2 AND +inserted_at >= ?4",
            params![env, from, into, since, now],
        );
        self.push(
            "INSERT INTO feeds (env, channel, recipient, version, last_at, total, unread, unseen, archived, archived_unread, \
             archived_unseen) SELECT f.env, f.channel, CAST(?3 AS TEXT), 0, 0, 0, 0, 0, 0, 0, 0 FROM feeds f \
             WHERE f.id IN (SELECT o.id FROM feeds o WHERE o.env = ?1 AND o.recipient = ?2) \
             AND EXISTS (SELECT 1 FROM messages m WHERE m.feed = f.id AND m.inserted_at >= ?4) \
             ON CONFLICT (env, channel, recipient) DO NOTHING",
            params![env, from, into, since],
        );
        self.push(
            "UPDATE messages SET recipient = ?3, feed = placed.feed, seq = placed.place, version = placed.place, \
             updated_at = CASE WHEN messages.recipient = ?3 THEN messages.updated_at ELSE ?5 END \
             FROM (SELECT m.n, t.id AS feed, t.version + row_number() OVER (PARTITION BY t.id ORDER BY m.inserted_at, m.id) AS place \
             FROM feeds f CROSS JOIN feeds t CROSS JOIN messages m WHERE f.env = ?1 AND f.recipient = ?2 AND t.env = f.env \
             AND t.channel = f.channel AND t.recipient = ?3 AND m.feed IN (f.id, t.id) AND m.inserted_at >= \
             (SELECT min(o.inserted_at) FROM messages o WHERE o.feed = f.id AND o.inserted_at >= ?4)) placed \
             WHERE messages.n = placed.n",
            params![env, from, into, since, now],
        );
        self.push(
            format!(
                "UPDATE feeds SET (version, forgotten, last_at) = (SELECT max(m.seq), max(m.seq), \
                 CASE WHEN max(m.inserted_at) > feeds.last_at THEN max(m.inserted_at) ELSE feeds.last_at END \
                 FROM messages m WHERE m.feed = feeds.id), {} \
                 WHERE env = ?1 AND recipient = ?2 AND EXISTS (SELECT 1 FROM messages m WHERE m.feed = feeds.id AND m.seq > feeds.version)",
                counted()
            ),
            params![env, into],
        );
    }

    /// Where they act in what is still to come: in runs, in what gathers, and in what is planned.
    fn hand_over_acts(&mut self, &Merger { env, from, into, now, .. }: &Merger<'_>) {
        self.push(
            format!("UPDATE runs SET actor = ?3, rev = rev + 1 WHERE env = ?1 AND actor = ?2 AND {UNFINISHED}"),
            params![env, from, into],
        );
        self.push(
            "UPDATE batch_activities SET actor = ?3 WHERE env = ?1 AND actor = ?2 \
             AND EXISTS (SELECT 1 FROM batches b WHERE b.id = batch_activities.batch AND b.is_open = 1)",
            params![env, from, into],
        );
        self.push(
            "UPDATE schedules SET actor = ?3, rev = rev + 1, updated_at = ?4 WHERE env = ?1 AND actor = ?2",
            params![env, from, into, now],
        );
    }
}
