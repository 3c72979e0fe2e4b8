//! What goes wrong, until all is calm; and what must hold then.

use super::*;

impl World<'_> {
    /// A node that is up; none if all are down.
    pub(super) fn any_node(&self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up).collect();
        if up.is_empty() { None } else { Some(self.ground().dice.pick(&up)) }
    }

    /// A node begins a life.
    pub(super) fn start(&mut self, node: usize) {
        let life = Life { node, number: self.number() as u32 };
        let registry = Registry::new();
        let stage = Arc::new(Stage {
            life,
            ground: Arc::clone(&self.ground),
            watched: (self.mode != Mode::Alone).then(Mutex::default),
            catalog: Arc::clone(&self.tools.catalog),
            metrics: Arc::clone(&self.tools.metrics),
            origin: self.origin,
        });
        let house = Arc::downgrade(&stage);
        registry.settle(house);
        let begun = Node {
            life,
            is_up: true,
            frozen_until: 0,
            held: Vec::new(),
            passed_at: self.now(),
            registry,
            stage,
            trail: Trail::default(),
            lane: Lane::default(),
            unpublished: 0,
            busy_until: 0,
            minds_bursts: false,
        };
        match self.nodes.get_mut(node) {
            Some(old) => *old = begun,
            None => self.nodes.push(begun),
        }
        self.note(|| format!("node {node} is up"));
        self.pass(node, true);
        if self.mode != Mode::Alone {
            self.soon(100 * MILLI, Entry::Connect(life));
        }
        if self.mode == Mode::Swept {
            let lag = self.roll(0..SWEEP.as_micros() as i64);
            self.push(lag, Entry::Sweep(life));
        }
    }

    pub(super) fn end_bursts(&mut self, life: Life) {
        let time = self.ground().time();
        self.nodes[life.node].registry.end_bursts(time);
        let now = self.now();
        let node = &mut self.nodes[life.node];
        node.minds_bursts = node.busy_until > now;
        if node.minds_bursts {
            self.push(BURSTS_ENDED, Entry::Bursts(life));
        }
    }

    pub(super) fn suffer(&mut self, fault: Fault) {
        if self.is_calm {
            return;
        }
        let node = self.roll(0..self.nodes.len() as i64) as usize;
        self.note(|| format!("{fault:?} (node {node})"));
        match fault {
            // Where nobody sweeps, news that die with their node are never found: it is killed when they are out.
            Fault::Crash if self.mode == Mode::Told && self.nodes[node].unpublished > 0 => {
                self.push(50 * MILLI, Entry::Fault(fault));
            }
            Fault::Crash => self.crash(node),
            Fault::Freeze => {
                let lag = self.lag(8 * SECOND);
                self.freeze(node, lag);
            }
            Fault::Sleep => {
                let lag = self.roll(105 * SECOND..210 * SECOND);
                self.freeze(node, lag);
            }
            Fault::LaneLost => self.cut_lane(node),
            Fault::BusAway => {
                let lag = if self.chance(50) { self.roll(SECOND..8 * SECOND) } else { self.lag(8 * SECOND) };
                self.broker.away_until = self.now() + lag;
                (0..self.nodes.len()).for_each(|node| self.cut_lane(node));
            }
            Fault::Unserved => self.unserve(node),
            Fault::Outage | Fault::DatabaseCrash => {
                // A database that is back before anybody asks leaves no trace but what it has forgotten.
                let lag = self.lag(if fault == Fault::Outage { 3 * SECOND } else { SECOND / 4 });
                let mut ground = self.ground();
                ground.outage_until = ground.now + lag;
                if fault == Fault::DatabaseCrash {
                    ground.database.crash();
                }
            }
        }
    }

    fn crash(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if !std::mem::take(&mut self.nodes[node].is_up) {
            return;
        }
        let lane = self.nodes[node].lane.number;
        lane.map(|lane| self.broker.lanes.remove(&lane));
        self.tasks.retain(|_, task| task.life != life);
        let conns: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.life == life).map(|(id, _)| *id).collect();
        for conn in conns {
            self.soon(SECOND, Entry::Lost(conn));
        }
        let lag = self.lag(5 * SECOND);
        self.push(lag, Entry::Restart(node));
    }

    fn freeze(&mut self, node: usize, lag: i64) {
        let now = self.now();
        let frozen = &mut self.nodes[node];
        frozen.frozen_until = frozen.frozen_until.max(now + lag);
        let (life, until) = (frozen.life, frozen.frozen_until);
        self.push_at(until, Entry::Thaw(life));
        let conns: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.life == life).map(|(id, _)| *id).collect();
        for conn in conns {
            // Clients that hear nothing give up.
            let patience = self.roll(2 * SECOND..5 * SECOND);
            if patience < lag && self.chance(50) {
                self.push(patience, Entry::Lost(conn));
            }
        }
    }

    pub(super) fn thaw(&mut self, life: Life) {
        let now = self.now();
        let node = &mut self.nodes[life.node];
        if node.life != life || node.frozen_until > now {
            return;
        }
        node.passed_at = now;
        for entry in std::mem::take(&mut node.held) {
            self.push(0, entry);
        }
    }

    fn unserve(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(lane) = self.nodes[node].lane.number else { return };
        let Some((_, users)) = self.broker.lanes.get_mut(&lane) else { return };
        let Some(user) = users.pop_first() else { return };
        self.note(|| format!("the bus no longer serves {user} to node {node}"));
        let at = self.now() + self.lag(3 * SECOND);
        let at = at.max(self.nodes[node].lane.at);
        self.nodes[node].lane.at = at;
        self.push_at(at, Entry::Unsubscribed(life, lane, Whose { env: 1, user }));
    }

    /// Nothing goes wrong any more, and nobody changes anything.
    pub(super) fn calm(&mut self) {
        self.note(|| "all is calm".to_owned());
        self.is_calm = true;
        let now = self.now();
        {
            let mut ground = self.ground();
            ground.weather = Weather::CALM;
            ground.outage_until = 0;
        }
        self.broker.away_until = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].frozen_until = self.nodes[node].frozen_until.min(now);
            self.thaw(self.nodes[node].life);
            if !self.nodes[node].is_up {
                self.start(node);
            }
        }
        let slow: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.slow_until > now).map(|(id, _)| *id).collect();
        for conn in slow {
            self.soon(SECOND, Entry::Drained(conn));
        }
        for client in 0..self.clients.len() {
            if self.clients[client].conn.is_none() {
                self.soon(SECOND, Entry::Dial(client));
            }
        }
    }

    /// Everybody knows the truth, and nobody is owed anything.
    pub(super) fn is_at_rest(&self) -> Result<(), String> {
        let ground = self.ground();
        for (number, client) in self.clients.iter().enumerate() {
            if client.conn.is_none() || !client.is_joined {
                return Err(format!("client {number} is not in"));
            }
            let (head, database) = (ground.database.head(client.feed), &ground.database);
            let counts = |filter: &Filter| database.counts(&head, filter);
            if let Some(fault) = client.fault(database.items(client.feed), head.version, counts) {
                return Err(format!("client {number}: {fault}"));
            }
        }
        for node in &self.nodes {
            for feed in 0..self.feeds {
                let topic = node.registry.topic(ground.database.name(feed));
                if let Some(owed) = topic.and_then(|topic| topic.owes()) {
                    return Err(format!("node {}, {}: {owed}", node.life.node, ground.database.name(feed).topic()));
                }
            }
        }
        Ok(())
    }

    /// Everybody goes.
    pub(super) fn desert(&mut self) {
        self.note(|| "everybody goes".to_owned());
        self.queue.retain(|_, entry| !matches!(**entry, Entry::Dial(_)));
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            self.lose(id);
        }
        self.queue.retain(|_, entry| !matches!(**entry, Entry::Dial(_)));
    }

    /// Nothing is left of those who went.
    pub(super) fn is_deserted(&self) -> Result<(), String> {
        for node in &self.nodes {
            let (number, topics) = (node.life.node, node.registry.topics());
            if topics > 0 {
                return Err(format!("node {number} keeps {topics} topics that nobody listens to"));
            }
            let watched = node.stage.watched.as_ref().map_or(0, |watched| lock(watched).len());
            if watched > 0 {
                return Err(format!("node {number} watches {watched} users for nobody"));
            }
        }
        let subscribed = self.broker.lanes.values().map(|(_, users)| users.len()).sum::<usize>();
        if subscribed > 0 {
            return Err(format!("the bus serves {subscribed} users to nobody"));
        }
        match self.tasks.len() {
            0 => Ok(()),
            tasks => Err(format!("{tasks} tasks are still at work")),
        }
    }
}

/// Works of one moment in an order that does not depend on anything else.
pub(super) fn rank(work: &Work) -> (u8, String) {
    match work {
        Work::LookAround => (0, String::new()),
        Work::Look(topic, _) => (1, topic.name.topic()),
        Work::CatchUp(topic) => (2, topic.name.topic()),
    }
}

pub(super) fn described(work: &Work) -> String {
    match work {
        Work::LookAround => "look around".to_owned(),
        Work::Look(topic, _) => format!("look at {}", topic.name.topic()),
        Work::CatchUp(topic) => format!("catch up with {}", topic.name.topic()),
    }
}
