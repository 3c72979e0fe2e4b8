//! Rows: who changes them, what is told of it, and the sweep that finds what was not.

use super::*;
use crate::hub::tests::simulation::stage;
use crate::store::feeds::Still;

impl World<'_> {
    /// Somebody changes something, on whichever node answers.
    pub(super) fn write(&mut self) {
        let Some(node) = self.any_node() else { return };
        let life = self.nodes[node].life;
        let (feed, write) = {
            let mut ground = self.ground();
            let feed = ground.dice.roll(0..self.feeds as i64) as usize;
            let ids = some_ids(&mut ground, feed);
            let write = match ground.dice.roll(0..100) {
                ..60 => Write::Add { tenant: ground.dice.pick(&[None, None, Some("acme"), Some("other")]) },
                60..88 => Write::Mark { mark: ground.dice.pick(&Mark::ALL), ids, still: Still::default(), at: None },
                88..97 => Write::Remove { ids },
                _ => Write::Forget,
            };
            (feed, write)
        };
        self.ground().orders.push(Order { life, feed, write, done: None });
    }

    pub(super) fn begin(&mut self, order: Order) {
        let (tx, most) = {
            let mut ground = self.ground();
            (ground.database.begin(), ground.weather.write)
        };
        self.soon(most, Entry::Commit(order, tx));
    }

    /// The transaction comes to its end. Its node may be gone: then nobody is told.
    pub(super) fn commit(&mut self, mut order: Order, tx: i64) {
        let (life, feed) = (order.life, order.feed);
        let is_there = self.nodes[life.node].life == life && self.nodes[life.node].is_up;
        let changed = {
            let mut ground = self.ground();
            let (now, time) = (ground.now, ground.time());
            let failing = ground.weather.failing;
            // A database within the node dies with it.
            let dies = !is_there && (self.mode == Mode::Alone || ground.dice.chance(50));
            let fails = dies || now < ground.outage_until || ground.dice.chance(failing);
            if fails {
                ground.database.roll_back(tx);
                Err(unavailable())
            } else {
                let changed = ground.database.commit(tx, feed, &order.write, time);
                let user = ground.database.name(feed).topic();
                ground.note(|| match &changed {
                    Some((head, _)) => format!("{user} is at {} by {:?} ({tx})", head.version, order.write),
                    None => format!("{user} is not changed by {:?}", order.write),
                });
                Ok(changed)
            }
        };
        if !is_there {
            return;
        }
        match changed {
            Ok(Some((head, news))) => {
                let name = self.ground().database.name(feed).clone();
                let (channel, recipient) = (name.channel.to_string(), name.user.to_string());
                let event = FeedEvent { env: name.env, channel, recipient, head, news };
                self.soon(5 * MILLI, Entry::Publish(order, event));
            }
            Ok(None) => {
                self.nodes[life.node].unpublished -= 1;
                order.done.take().map(|done| done.send(Ok(())));
            }
            Err(error) => {
                self.nodes[life.node].unpublished -= 1;
                order.done.take().map(|done| done.send(Err(error)));
            }
        }
    }

    /// The node tells of what it has changed: its own sockets at once, then the others.
    pub(super) fn publish(&mut self, mut order: Order, event: &FeedEvent) {
        let life = order.life;
        self.note(|| format!("node {} tells of {} {}", life.node, event.recipient, event.head.version));
        let registry = self.nodes[life.node].registry.clone();
        registry.heard(event);
        if self.mode == Mode::Alone {
            self.nodes[life.node].unpublished -= 1;
        } else {
            let FeedEvent { env, channel, recipient, head, news } = event;
            let item = if let News::Item(item) = news { Some(&**item) } else { None };
            let is_moved = matches!(news, News::Moved);
            let letter = Letter { node: life.node as u64, env: *env, channel, recipient, head, item, is_moved };
            let payload = envelope::seal(&letter, self.chance(10)).into();
            let whose = Whose { env: *env, user: recipient.as_str().into() };
            self.soon(2 * MILLI, Entry::Post(life, payload, whose, 4));
        }
        order.done.take().map(|done| done.send(Ok(())));
    }

    /// The sweep of a node looks where changes stand.
    pub(super) fn sweep(&mut self, life: Life) {
        let every = SWEEP.as_micros() as i64;
        self.push(every, Entry::Sweep(life));
        let node = &mut self.nodes[life.node];
        node.trail.wake(node.stage.instant().into_std(), SWEEP);
        let (now, most) = {
            let mut ground = self.ground();
            let now = if ground.fails() { None } else { Some(ground.database.changes_now()) };
            (now, ground.weather.read)
        };
        match now {
            Some(now) => self.soon(most, Entry::Swept(life, now)),
            None => _ = self.nodes[life.node].trail.lose(),
        }
    }

    /// It has looked, and reads what has changed since it looked before.
    pub(super) fn swept(&mut self, life: Life, now: Seen) {
        let node = &mut self.nodes[life.node];
        let registry = node.registry.clone();
        let since = node.trail.since(&now).cloned();
        let found = {
            let mut ground = self.ground();
            if ground.fails() { None } else { Some(since.map(|since| ground.database.changes_since(&since))) }
        };
        let Some(changed) = found else {
            self.nodes[life.node].trail.lose();
            return;
        };
        if let Some(changed) = changed {
            self.note(|| {
                let changed = changed.iter().map(|(name, version)| format!("{} {version}", name.topic()));
                format!("the sweep of node {} finds {:?}", life.node, changed.collect::<Vec<_>>())
            });
            let channels: Vec<String> = changed.iter().map(|(name, _)| name.channel.to_string()).collect();
            let named = changed.iter().zip(&channels);
            registry.suspect(named.map(|((name, version), channel)| (name.env, &**channel, &*name.user, *version)));
        }
        let trail = &mut self.nodes[life.node].trail;
        if let Some(oldest) = trail.reach(now) {
            lock(&self.ground).database.forget_changes(&oldest);
        }
        if trail.find_again() {
            self.note(|| format!("the sweep of node {} looks at everything", life.node));
            registry.suspect_all();
        }
    }

    /// A stock client looks at its feed by HTTP, on whichever node answers.
    pub(super) fn look(&mut self, client: usize, bell: usize, looking: Looking) {
        let feed = self.clients[client].feed;
        let Kind::Stock(stock) = &mut self.clients[client].kind else { return };
        let bell_of = &mut stock.bells[bell];
        let ground = lock(&self.ground);
        let next = match looking {
            Looking::Begun => Looking::Headed(ground.database.head(feed)),
            Looking::Headed(head) => {
                let counts = ground.database.counts(&head, &wide(&bell_of.filter));
                let (newest, filter) = (bell_of.newest, &bell_of.filter);
                let items = ground.database.items(feed).iter();
                let found = items.filter(|item| item.seq > newest && filter.matches(item));
                Looking::Found(found.map(|item| (item.id.clone(), item.seq)).collect(), counts)
            }
            Looking::Found(found, counts) => {
                drop(ground);
                bell_of.looked(found, counts);
                return self.note(|| format!("client {client} has looked ({bell}): {counts:?}"));
            }
        };
        drop(ground);
        self.soon(LOOK / 3, Entry::Look(client, bell, next));
    }
}

/// Some ids of the feed's items.
pub(super) fn some_ids(ground: &mut stage::Ground, feed: usize) -> Vec<String> {
    let most = ground.database.items(feed).len() as i64;
    if most == 0 {
        return Vec::new();
    }
    let count = ground.dice.roll(1..4);
    (0..count)
        .map(|_| ground.dice.roll(0..most) as usize)
        .map(|at| ground.database.items(feed)[at].id.clone())
        .collect()
}
