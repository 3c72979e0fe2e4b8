//! What clients do: they dial, join, hear, act, lose their connection and come back.

use super::*;
use crate::hub::tests::simulation::clients::Own;

impl World<'_> {
    /// A client connects to a node that is up, and joins.
    pub(super) fn dial(&mut self, client: usize) {
        if self.clients[client].conn.is_some() {
            return;
        }
        let Some(node) = self.any_node() else { return self.push(500 * MILLI, Entry::Dial(client)) };
        let life = self.nodes[node].life;
        let id = self.number();
        let time = self.ground().time();
        let link = Arc::new(Link::new(id, Vsn::V2, Arc::default(), None, time));
        let conn = Conn {
            life,
            client,
            link,
            session: Session::new(Vsn::V2, Arc::clone(&self.tools.caller)),
            acts: VecDeque::new(),
            inbox: VecDeque::new(),
            busy: None,
            writing: VecDeque::new(),
            slow_until: 0,
            waits_until: 0,
            was_filled: false,
            up_at: 0,
            down_at: 0,
            waker: self.waker(Ring::Conn(id)),
        };
        self.conns.insert(id, conn);
        let is_first = self.clients[client].refs == 0;
        self.clients[client].conn = Some(id);
        let join = self.clients[client].join();
        self.note(|| format!("client {client} dials node {node} (socket {id}) and says {join}"));
        self.send_up(id, join);
        if is_first {
            // What it mounts is looked at and joined at the same time.
            self.begin_to_look(client, 0);
        }
    }

    pub(super) fn rejoin(&mut self, client: usize, conn: u64) {
        if self.clients[client].conn == Some(conn) && !self.clients[client].is_joined {
            let join = self.clients[client].join();
            self.note(|| format!("client {client} joins again: {join}"));
            self.send_up(conn, join);
        }
    }

    /// A stock client looks at one of its feeds, unless it is looking.
    fn begin_to_look(&mut self, client: usize, bell: usize) {
        let Kind::Stock(stock) = &mut self.clients[client].kind else { return };
        if !std::mem::replace(&mut stock.bells[bell].is_looking, true) {
            self.note(|| format!("client {client} looks ({bell})"));
            self.soon(LOOK / 3, Entry::Look(client, bell, Looking::Begun));
        }
    }

    /// A frame comes to the client.
    pub(super) fn hear(&mut self, id: u64, text: &str) -> Result<(), String> {
        let Some((client, was_filled)) = self.conns.get(&id).map(|conn| (conn.client, conn.was_filled)) else {
            return Ok(());
        };
        if self.clients[client].conn != Some(id) {
            return Ok(());
        }
        self.note(|| format!("client {client} is told {text}"));
        let frame = phoenix::Frame::parse(Vsn::V2, text).map_err(|error| format!("{error:?}: {text}"))?;
        let (join_ref, reference) = (frame.join_ref.as_deref(), frame.reference.as_deref());
        let known = &mut self.clients[client];
        let is_current = join_ref.is_none_or(|join_ref| join_ref == known.join_ref);
        let complain = |fault: String| format!("client {client}: {fault}");
        match (&*frame.event, &mut known.kind) {
            ("phx_reply", _) if !is_current => {}
            ("phx_reply", kind) => {
                let reply: Reply<'_> = serde_json::from_str(frame.payload.get()).map_err(|error| error.to_string())?;
                let (is_ok, response) = (reply.status == "ok", reply.response.get());
                if reference == Some(known.join_ref.as_str()) {
                    known.is_joined = is_ok;
                    if !is_ok {
                        let lag = 500 * MILLI + self.roll(0..SECOND);
                        self.push(lag, Entry::Rejoin(client, id));
                    }
                } else if let (Kind::Own(own), Some(reference)) = (kind, reference) {
                    answered(own, reference, is_ok, response, was_filled).map_err(complain)?;
                }
            }
            (phoenix::ERROR, _) => return Err(complain("its channel has crashed".to_owned())),
            (phoenix::CLOSE, _) if is_current => return Err(complain("its channel is closed".to_owned())),
            (phoenix::CLOSE, _) => {}
            (event, Kind::Own(own)) if is_current => own.told(event, frame.payload.get()).map_err(complain)?,
            (_, Kind::Own(_)) => {}
            ("new-message", Kind::Stock(stock)) => {
                // The channel that was left still hears, until the server says that it is left.
                let concerned = stock.told(frame.payload.get()).map_err(complain)?;
                concerned.into_iter().for_each(|bell| self.begin_to_look(client, bell));
            }
            (event, Kind::Stock(_)) => return Err(complain(format!("{event} is nothing that it knows"))),
        }
        Ok(())
    }

    /// The client's connection is lost, or it gives it up; the server sees that a little later.
    pub(super) fn lose(&mut self, id: u64) {
        let Some(client) = self.conns.get(&id).map(|conn| conn.client) else { return };
        if self.clients[client].conn != Some(id) {
            return;
        }
        self.note(|| format!("client {client} loses socket {id}"));
        self.clients[client].conn = None;
        self.clients[client].is_joined = false;
        // The server may learn it long after the client.
        let lag = if self.chance(50) { self.roll(0..4 * SECOND) } else { self.lag(2 * SECOND) };
        self.push(lag, Entry::Gone(id));
        self.come_back(client);
    }

    /// Dials again after a while.
    fn come_back(&mut self, client: usize) {
        let lag = match self.is_calm {
            false if self.chance(30) => self.roll(SECOND..6 * SECOND),
            false => 50 * MILLI + self.lag(3 * SECOND),
            true => 50 * MILLI + self.lag(SECOND),
        };
        self.push(lag, Entry::Dial(client));
    }

    /// A client does something of its own.
    pub(super) fn act(&mut self, client: usize) {
        if self.is_calm || self.now() > LIVELY {
            return;
        }
        let next = 50 * MILLI + self.lag(4 * SECOND);
        self.push(next, Entry::Act(client));
        let Some(conn) = self.clients[client].conn.filter(|_| self.clients[client].is_joined) else { return };
        let dice = self.roll(0..100);
        let is_slow = self.conns.get(&conn).is_some_and(|conn| self.now() < conn.slow_until);
        match (&self.clients[client].kind, dice) {
            (_, ..12) => self.lose(conn),
            (_, 12..22) => self.leave_and_join(client, conn),
            (_, 22..27) => {
                // The page has lost patience with its join.
                let join = self.clients[client].join();
                self.note(|| format!("client {client} joins over its join: {join}"));
                self.send_up(conn, join);
            }
            (Kind::Stock(_), 27..50) if dice >= 40 || is_slow => {
                // A new token: it leaves, closes, and comes on another socket.
                let leave = self.clients[client].leave();
                self.note(|| format!("client {client} leaves for another socket"));
                self.send_up(conn, leave);
                self.lose(conn);
            }
            (_, 27..40) => self.slow_down(conn),
            (Kind::Own(own), 40..65) if !own.items.is_empty() => {
                let known: Vec<&String> = own.items.keys().collect();
                let (mark, ids) = {
                    let mut ground = self.ground();
                    let ids: Vec<String> =
                        (0..ground.dice.roll(1..4)).map(|_| ground.dice.pick(&known).clone()).collect();
                    (ground.dice.pick(&Mark::ALL), ids)
                };
                let ids = serde_json::to_string(&ids).map_err(|error| error.to_string()).unwrap_or_default();
                self.mark(client, conn, None, &format!(r#"{{"as":"{}","ids":{ids}}}"#, mark.name()));
            }
            (Kind::Own(own), 65..71) if own.undo.is_some() => {
                let payload = own.undo.clone().unwrap_or_default();
                self.mark(client, conn, None, &payload);
            }
            (Kind::Own(_), 65..75) => {
                let mark = self.ground().dice.pick(&[Mark::Seen, Mark::Read, Mark::Archived, Mark::Unread]);
                self.mark(client, conn, Some(mark), &format!(r#"{{"as":"{}","all":true}}"#, mark.name()));
            }
            (Kind::Own(own), 75..90) if own.fetch.is_none() => {
                let since = own.version;
                let payload = since.map_or(r#"{"since":null}"#.to_owned(), |since| format!(r#"{{"since":{since}}}"#));
                let (reference, frame) = self.clients[client].push("feed.fetch", &payload);
                if let Kind::Own(own) = &mut self.clients[client].kind {
                    own.fetch = Some((reference, since));
                }
                self.note(|| format!("client {client} says {frame}"));
                self.send_up(conn, frame);
            }
            (Kind::Stock(stock), 50..60) if stock.bells.len() < 3 => self.mount(client, conn),
            _ => {}
        }
    }

    fn mark(&mut self, client: usize, conn: u64, everything: Option<Mark>, payload: &str) {
        let (reference, frame) = self.clients[client].push("feed.mark", payload);
        self.note(|| format!("client {client} says {frame}"));
        if let Kind::Own(own) = &mut self.clients[client].kind {
            own.marks.insert(reference, everything);
        }
        self.send_up(conn, frame);
    }

    fn leave_and_join(&mut self, client: usize, conn: u64) {
        let (leave, join) = (self.clients[client].leave(), self.clients[client].join());
        self.note(|| format!("client {client} leaves and joins: {join}"));
        self.send_up(conn, leave);
        self.send_up(conn, join);
    }

    /// A second feed of the same topic mounts in a stock client.
    fn mount(&mut self, client: usize, conn: u64) {
        let variant = self.roll(0..VARIANTS) as usize;
        let Kind::Stock(stock) = &mut self.clients[client].kind else { return };
        let bell = stock.mount(client, variant);
        self.leave_and_join(client, conn);
        self.begin_to_look(client, bell);
        // So that something changes while it looks.
        if self.chance(50) {
            self.soon(LOOK, Entry::Writer);
        }
    }

    /// The client takes nothing in for a while, and much is told to it.
    fn slow_down(&mut self, id: u64) {
        let (now, lag, dice) = (self.now(), self.roll(10 * MILLI..3 * SECOND), self.roll(0..100));
        let filler = Arc::clone(&self.tools.filler);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let head: Arc<str> = "[null".into();
        if dice < 15 {
            // Much is told to it at once, before the server looks after it again.
            (conn.waits_until, conn.was_filled) = (now + lag, true);
            conn.link.tell(&[filler], &head);
            self.note(|| format!("socket {id} gets no turn for {} ms", lag / MILLI));
            return self.push(lag, Entry::Turn(id));
        }
        conn.slow_until = now + lag;
        if dice < 55 {
            conn.was_filled = true;
            // The first is being written, the second fills the outbox.
            conn.writing.push_back(Frame::Shared { head: Arc::clone(&head), push: Arc::clone(&filler) });
            conn.link.tell(&[filler], &head);
        }
        self.note(|| format!("socket {id} takes nothing in for {} ms", lag / MILLI));
        self.push(lag, Entry::Drained(id));
    }
}

/// Something that one of our own clients asked for is answered.
fn answered(own: &mut Own, reference: &str, is_ok: bool, response: &str, was_filled: bool) -> Result<(), String> {
    if let Some(everything) = own.marks.remove(reference) {
        if !is_ok {
            return Ok(());
        }
        let Answer { version, at } = serde_json::from_str(response).map_err(|error| error.to_string())?;
        let back = everything.and_then(Mark::taken_back).map(Mark::name);
        own.undo = back.map(|back| format!(r#"{{"as":"{back}","all":true,"marked_at":"{at}"}}"#));
        if !was_filled && own.version.is_none_or(|known| known < version) {
            return Err(format!("a mark is answered with {version} before that is told, at {:?}", own.version));
        }
        return Ok(());
    }
    match own.fetch.take_if(|(asked, _)| asked == reference) {
        Some((_, since)) if is_ok => own.fetched(since, response),
        _ => Ok(()),
    }
}
