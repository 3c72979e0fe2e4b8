type Item = { id: string; inserted_at: string; seen_at: string | null; read_at: string | null; blocks: any[] };
type Copy = { version: number | null; items: Item[]; counts: Record<string, number>; after: string | null };
type Options = {
  host: string; publicKey: string; channel: string; user: string;
  token: (isNewNeeded: boolean) => Promise<string>;
  changed: (copy: Copy, status: string) => void;
};

export class BellwireFeed {
  private isOn = false; private turn = 0; private attempt = 0; private openedAt = 0; private ref = 0; private joinRef = "";
  private isNewNeeded = false; private isMarking = false; private spread = [250, 1_000]; private status = "off";
  private timer: any; private beats: any; private ws: WebSocket | null = null;
  private answers = new Map<string, (status: string, response?: any) => void>();
  private marks: { as: string; ids: string[] }[] = [];

  /** `copy`: what the application kept of the last time; for the same user only. */
  constructor(private o: Options, public copy: Copy = { version: null, items: [], counts: {}, after: null }) {}

  start() { if (!this.isOn) { this.isOn = true; this.attempt = 0; void this.dial(); } }
  stop() { this.isOn = false; this.drop(); this.become("off"); }

  /** Sent now, or as soon as there is a connection; the feed shows it when the server has told so. */
  mark(as: string, ids: string[]) { this.marks.push({ as, ids }); void this.flush(); }

  async more() {
    if (!this.copy.after) return;
    const [status, page] = await this.ask("feed.fetch", { after: this.copy.after, page_size: 50 });
    if (status === "ok") this.keep({ ...this.copy, after: page.page_info.after, items: [...this.copy.items, ...page.entries] });
  }

  private async dial() {
    const turn = ++this.turn;
    this.become("connecting");
    const token = await this.o.token(this.isNewNeeded).catch(() => null);
    if (turn !== this.turn) return;
    if (token === null) return this.closed(1006);
    const { host, publicKey } = this.o;
    const query = Object.entries({ api_key: publicKey, user_token: token, vsn: "2.0.0" }).map(([k, v]) => `${k}=${encodeURIComponent(v)}`);
    const ws = (this.ws = new WebSocket(`${host.replace(/^http/, "ws")}/ws/v1/websocket?${query.join("&")}`));
    ws.onopen = () => void this.join();
    ws.onmessage = ({ data }) => this.hear(JSON.parse(data));
    ws.onerror = () => {};                      // what comes of it is told to onclose
    ws.onclose = ({ code }) => this.closed(code ?? 1006);
    this.timer = setTimeout(() => this.closed(1006), 10_000);
  }

  private async join() {
    clearTimeout(this.timer);
    this.openedAt = Date.now();
    this.beats = setInterval(() => this.ask("heartbeat", {}, "phoenix"), 30_000);
    this.joinRef = String(this.ref + 1);
    const [status, welcome] = await this.ask("phx_join", { bellwire: { since: this.copy.version, archived: "exclude", page_size: 50 } });
    if (status === "lost") return;
    if (status !== "ok") return this.closed(1006);
    this.isNewNeeded = false;
    this.spread = welcome.reconnect_ms;
    this.become("live");
    void this.flush();
  }

  private hear([joinRef, ref, topic, event, payload]: [string | null, string | null, string, string, any]) {
    if (event === "phx_reply") return this.answers.get(ref ?? "")?.(payload.status, payload.response);
    if (topic !== this.topic || (joinRef !== null && joinRef !== this.joinRef)) return;
    if (event === "feed.snapshot" || event === "feed.delta") this.take(payload);
    if (event === "phx_error" || event === "phx_close") this.closed(1006);
  }

  private take(news: any) {
    const { copy } = this;
    if (news.entries) return this.keep({ version: news.version, items: news.entries, counts: news.counts, after: news.page_info.after });
    if (copy.version === null || news.since > copy.version) return void this.catchUp();
    if (news.version <= copy.version) return;
    const known = new Map(copy.items.map((item) => [item.id, item]));
    // What is older than all we have comes with its own page.
    const oldest = copy.after ? copy.items[copy.items.length - 1]?.inserted_at ?? "" : "";
    for (const item of news.items) if (known.has(item.id) || item.inserted_at >= oldest) known.set(item.id, item);
    for (const id of news.removed) known.delete(id);
    const items = [...known.values()].sort((a, b) => (a.inserted_at < b.inserted_at ? 1 : a.inserted_at > b.inserted_at ? -1 : 0));
    this.keep({ ...copy, version: news.version, counts: news.counts, items });
  }

  private async catchUp() {
    const [status, news] = await this.ask("feed.fetch", { since: this.copy.version });
    if (status === "ok") this.take(news);
  }

  private async flush() {
    while (this.status === "live" && this.marks.length && !this.isMarking) {
      this.isMarking = true;
      const [status] = await this.ask("feed.mark", this.marks[0]);
      this.isMarking = false;
      // Said again after the next join: a mark that is said twice is one mark.
      if (status === "lost") return;
      this.marks.shift();
    }
  }

  private ask(event: string, payload: object, topic = this.topic): Promise<[status: string, response?: any]> {
    const ref = String(++this.ref);
    return new Promise((resolve) => {
      const settle = (status: string, response?: any) => (clearTimeout(timer), this.answers.delete(ref), resolve([status, response]));
      // Silence means that the connection is dead, whatever the system thinks of it.
      const timer = setTimeout(() => this.closed(1006), 10_000);
      if (this.ws?.readyState !== 1) return settle("lost");
      this.answers.set(ref, settle);
      this.ws.send(JSON.stringify([topic === this.topic ? this.joinRef : null, ref, topic, event, payload]));
    });
  }

  private closed(code: number) {
    if (this.openedAt && Date.now() - this.openedAt > 10_000) this.attempt = 0;
    // A refused upgrade looks like a server that is not there: now and then it may be the token.
    this.isNewNeeded = code === 4001 || (!this.openedAt && this.attempt % 4 === 3);
    this.drop();
    if (code === 1008) { this.isOn = false; return this.become("refused"); }
    const [least, most] = this.spread;
    const top = Math.max(most, Math.min(30_000, 1_000 * 2 ** this.attempt++));
    this.become("waiting");
    this.timer = setTimeout(() => this.dial(), least + Math.random() * (top - least));
  }

  private drop() {
    this.turn++;
    clearTimeout(this.timer);
    clearInterval(this.beats);
    this.openedAt = 0;
    const { ws } = this;
    this.ws = null;
    if (ws) { ws.onopen = ws.onmessage = ws.onclose = null; ws.close(1000); }
    for (const settle of [...this.answers.values()]) settle("lost");
  }

  private get topic() { return `feeds:${this.o.channel}:${this.o.user}`; }
  private keep(copy: Copy) { this.copy = copy; this.o.changed(copy, this.status); }
  private become(status: string) { this.status = status; this.o.changed(this.copy, status); }
}
