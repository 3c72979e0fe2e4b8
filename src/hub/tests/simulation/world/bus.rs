//! The bus: a server that serves users to nodes and may lose anything, and each node's lane to it.

use super::*;

impl World<'_> {
    /// Does something with what the node wants to hear, if it lives and hears anything.
    pub(super) fn watched<T>(
        &mut self,
        life: Life,
        act: impl FnOnce(&mut crate::bus::watched::Watched, Instant) -> T,
    ) -> Option<T> {
        let node = self.nodes.get(life.node).filter(|node| node.life == life && node.is_up)?;
        let now = node.stage.instant();
        let watched = node.stage.watched.as_ref()?;
        Some(act(&mut lock(watched), now))
    }

    /// When something comes by the lane that is sent now: behind all that was sent before.
    fn in_order(&mut self, life: Life) -> i64 {
        let most = self.ground().weather.bus;
        let (now, lag) = (self.now(), self.lag(most));
        let lane = &mut self.nodes[life.node].lane;
        lane.at = lane.at.max(now + lag);
        lane.at
    }

    /// Sends news to the server, if this node is connected to it.
    pub(super) fn post(&mut self, life: Life, payload: Arc<[u8]>, whose: Whose, tries: u8) {
        let (is_away, is_lossy) = (self.now() < self.broker.away_until, self.mode == Mode::Swept);
        if is_away || self.nodes[life.node].life != life {
            if is_lossy && tries == 0 {
                self.note(|| format!("news for {} from node {} find no way", whose.user, life.node));
                return self.posted(life);
            }
            return self.push(300 * MILLI, Entry::Post(life, payload, whose, tries.saturating_sub(1)));
        }
        let hearers: Vec<(u64, Life)> = self
            .broker
            .lanes
            .iter()
            .filter(|(_, (_, users))| users.contains(&whose.user))
            .map(|(lane, (life, _))| (*lane, *life))
            .collect();
        for (lane, hearer) in hearers {
            let (is_lost, times, most) = {
                let mut ground = self.ground();
                let Weather { lost, doubled, news, .. } = ground.weather;
                (ground.dice.chance(lost), 1 + usize::from(ground.dice.chance(doubled)), news)
            };
            if is_lost {
                self.note(|| format!("news for {} on the way to node {} are lost", whose.user, hearer.node));
                continue;
            }
            for _ in 0..times {
                self.soon(most, Entry::Arrive(hearer, lane, Arc::clone(&payload), whose.clone()));
            }
        }
        self.posted(life);
    }

    fn posted(&mut self, life: Life) {
        let node = &mut self.nodes[life.node];
        if node.life == life {
            node.unpublished -= 1;
        }
    }

    /// News come to a node.
    pub(super) fn arrive(&mut self, life: Life, lane: u64, payload: &[u8], whose: Whose) {
        let garbled = self.ground().weather.garbled;
        let is_garbled = self.chance(garbled);
        let node = &self.nodes[life.node];
        if node.lane.number != Some(lane) {
            return;
        }
        let registry = node.registry.clone();
        match envelope::open(payload, life.node as u64).filter(|_| !is_garbled) {
            Some(Opened::Feed { env, channel, recipient, head, item, is_moved }) => {
                self.note(|| format!("node {} hears of {recipient} {}", life.node, head.version));
                let without = if is_moved { News::Moved } else { News::Changed };
                let news = item.map_or(without, |item| News::Item(Arc::new(*item)));
                registry.heard(&FeedEvent { env, channel, recipient, head, news });
            }
            Some(_) => {}
            None => {
                self.note(|| format!("node {} can't read news of {}", life.node, whose.user));
                registry.missed(&[whose]);
            }
        }
    }

    /// Asks the server for what there is to be asked, unless something must be answered first.
    pub(super) fn attend(&mut self, life: Life) {
        let lane = &self.nodes[life.node].lane;
        let Some(number) = lane.number.filter(|_| lane.held.is_none() && !lane.is_leaving) else { return };
        let Some(mut errands) = self.watched(life, |watched, _| watched.take(LANE, 1_000)) else { return };
        // Maps have no order: it must not show.
        errands.left.sort_by(|a, b| a.user.cmp(&b.user));
        errands.wanted.sort_by(|a, b| a.user.cmp(&b.user));
        if !errands.left.is_empty() && self.nodes[life.node].lane.asking > 0 {
            self.nodes[life.node].lane.held = Some(errands);
            return;
        }
        self.send(life, number, errands);
    }

    fn send(&mut self, life: Life, number: u64, errands: Errands) {
        if !errands.left.is_empty() {
            self.nodes[life.node].lane.is_leaving = true;
            let at = self.in_order(life);
            self.push_at(at, Entry::Unsubscribe(life, number, errands));
        } else if !errands.wanted.is_empty() {
            self.nodes[life.node].lane.asking += 1;
            let at = self.in_order(life);
            self.push_at(at, Entry::Subscribe(life, number, errands.wanted));
        }
    }

    pub(super) fn subscribe(&mut self, life: Life, number: u64, wanted: Vec<Whose>) {
        let Some((_, users)) = self.broker.lanes.get_mut(&number) else { return };
        users.extend(wanted.iter().map(|whose| Arc::clone(&whose.user)));
        for whose in wanted {
            let at = self.in_order(life);
            self.push_at(at, Entry::Confirm(life, number, whose));
        }
        let at = self.in_order(life);
        self.push_at(at, Entry::Answered(life, number, Vec::new()));
    }

    pub(super) fn unsubscribe(&mut self, life: Life, number: u64, errands: Errands) {
        let Some((_, users)) = self.broker.lanes.get_mut(&number) else { return };
        errands.left.iter().for_each(|whose| _ = users.remove(&whose.user));
        for whose in errands.left {
            let at = self.in_order(life);
            self.push_at(at, Entry::Unsubscribed(life, number, whose));
        }
        let at = self.in_order(life);
        self.push_at(at, Entry::Answered(life, number, errands.wanted));
    }

    /// Something that the node asked for is done; what it wants behind that is asked for now.
    pub(super) fn answered(&mut self, life: Life, number: u64, wanted: Vec<Whose>) {
        let lane = &mut self.nodes[life.node].lane;
        if lane.number != Some(number) {
            return;
        }
        if !std::mem::take(&mut lane.is_leaving) {
            lane.asking -= 1;
        }
        let held = if lane.asking == 0 { lane.held.take() } else { None };
        let missed = self.watched(life, |watched, _| watched.take_missed(LANE)).unwrap_or_default();
        if !missed.is_empty() {
            self.note(|| format!("node {} may have missed news of {missed:?}", life.node));
            let registry = self.nodes[life.node].registry.clone();
            registry.missed(&missed);
        }
        let errands = held.unwrap_or(Errands { left: Vec::new(), wanted });
        self.send(life, number, errands);
        self.push(0, Entry::Attend(life));
    }

    /// The server no longer serves the connection, which the node does not know yet.
    pub(super) fn cut_lane(&mut self, node: usize) {
        let (life, lane) = (self.nodes[node].life, self.nodes[node].lane.number);
        if let Some(lane) = lane.filter(|lane| self.broker.lanes.remove(lane).is_some()) {
            self.note(|| format!("node {node} is cut off from the bus"));
            self.soon(6 * SECOND, Entry::LaneDown(life, lane));
        }
    }

    pub(super) fn lane_down(&mut self, life: Life, number: u64) {
        let node = &mut self.nodes[life.node];
        if node.lane.number != Some(number) {
            return;
        }
        node.lane = Lane { at: node.lane.at, ..Lane::default() };
        self.note(|| format!("node {} sees that it is cut off from the bus", life.node));
        self.watched(life, |watched, _| watched.lane_down(LANE));
        let lag = 50 * MILLI + self.roll(0..50 * MILLI);
        self.push(lag, Entry::Connect(life));
    }

    pub(super) fn connect(&mut self, life: Life) {
        if self.now() < self.broker.away_until {
            return self.push(100 * MILLI, Entry::Connect(life));
        }
        let number = self.number();
        self.broker.lanes.insert(number, (life, BTreeSet::new()));
        self.nodes[life.node].lane.number = Some(number);
        self.watched(life, |watched, _| watched.lane_up(LANE));
        self.push(0, Entry::Attend(life));
    }
}
