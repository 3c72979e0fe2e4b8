//! Sockets: what the server's end does with what comes, and what it writes. Between the two ends nothing overtakes anything.

use super::*;

impl World<'_> {
    pub(super) fn poll(&mut self, number: u64) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        self.ground().polled = number;
        let waker = task.waker.clone();
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            std::task::Poll::Pending => _ = self.tasks.insert(number, task),
            std::task::Poll::Ready(outside) => {
                let Some(id) = task.conn else { return };
                let Some(conn) = self.conns.get_mut(&id) else { return };
                conn.busy = None;
                if let Some(name) = outside {
                    conn.session.undo(&name);
                }
                self.push(0, Entry::Turn(id));
            }
        }
    }

    /// As a socket's task does: goes on with what has come, then writes what waits.
    pub(super) fn turn(&mut self, id: u64) {
        loop {
            let Some(conn) = self.conns.get(&id).filter(|conn| self.now() >= conn.waits_until) else { return };
            let is_blocked = !conn.writing.is_empty();
            if !is_blocked {
                self.go_on(id);
            }
            let now = self.now();
            let Some(conn) = self.conns.get_mut(&id) else { return };
            let orders = conn.link.orders(&Context::from_waker(&conn.waker), !is_blocked);
            conn.writing.extend(orders.frames);
            if !conn.writing.is_empty() && now < conn.slow_until {
                return;
            }
            let frames = std::mem::take(&mut conn.writing);
            frames.iter().for_each(|frame| self.send_down(id, frame));
            if is_blocked {
                continue;
            }
            if orders.is_starved {
                self.ask_for_the_rest(id);
            }
            return;
        }
    }

    fn go_on(&mut self, id: u64) {
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.busy.is_none()) {
            if let Some(out) = conn.acts.pop_front() {
                let node = &self.nodes[conn.life.node];
                let desk = Desk {
                    registry: &node.registry,
                    house: node.stage.clone(),
                    reconnect_ms: (250, 1_000),
                    link: &conn.link,
                };
                if let Some(busy) = acts::perform(desk, &mut conn.session, out) {
                    let life = conn.life;
                    let task = self.task(life, busy, Some(id));
                    self.push(0, Entry::Poll(task));
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.busy = Some(task);
                    }
                }
            } else if let Some(text) = conn.inbox.pop_front() {
                conn.acts.extend(conn.session.hear(&text, &self.tools.catalog, &self.tools.plain));
            } else {
                return;
            }
        }
    }

    fn ask_for_the_rest(&mut self, id: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (registry, link) = (self.nodes[conn.life.node].registry.clone(), Arc::clone(&conn.link));
        let joined: Vec<Name> = conn.session.joined().cloned().collect();
        self.note(|| format!("socket {id} has drained"));
        link.unstarve();
        joined.iter().for_each(|name| registry.resume(name, &link));
    }

    fn send_down(&mut self, id: u64, frame: &Frame) {
        // The frame that fills the line is of no interest.
        if frame.len() > 64 * 1024 {
            return;
        }
        let (head, tail) = frame.parts();
        let text = String::from_utf8_lossy(&[head, tail].concat()).into_owned();
        let (now, lag) = (self.now(), self.lag(LINE));
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.down_at = conn.down_at.max(now + lag);
        let at = conn.down_at;
        self.push_at(at, Entry::Down(id, text));
    }

    pub(super) fn send_up(&mut self, id: u64, text: String) {
        let (now, lag) = (self.now(), self.lag(LINE));
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.up_at = conn.up_at.max(now + lag);
        let at = conn.up_at;
        self.push_at(at, Entry::Up(id, text));
    }

    /// The server's end is over, however that came.
    pub(super) fn close(&mut self, id: u64) {
        let Some(conn) = self.conns.remove(&id) else { return };
        let node = &self.nodes[conn.life.node];
        if node.life == conn.life {
            self.note(|| format!("node {} sees that socket {id} has ended", conn.life.node));
            conn.link.retire();
            let (registry, now) = (node.registry.clone(), self.ground().time());
            conn.session.joined().for_each(|name| registry.leave(name, &conn.link, false, now));
        }
        if let Some(task) = conn.busy {
            drop(self.tasks.remove(&task));
        }
    }
}
