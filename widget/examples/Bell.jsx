// A bell of one's own for React 19: `useFeed` begins and ends a feed, `useFeedState` shows something of it.

import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { Feed } from "@bellwire/bell/feed";
import { linkOf, textOf } from "./item.js";

/** What is shown on a server, and until the feed has begun. */
const NOTHING = { items: [], counts: { total_count: 0, unread_count: 0, unseen_count: 0 }, hasMore: false, isLoading: false };

/** The feed of one user, for as long as the component stands. Functions and objects must be the same at each render. */
export function useFeed({ host, publicKey, channel, user, token, refreshToken, views }) {
  const [feed, setFeed] = useState(null);
  useEffect(() => {
    const begun = new Feed({ host, publicKey, channel, user, token, refreshToken, views });
    void begun.start();
    setFeed(begun);
    return () => begun.stop();
  }, [host, publicKey, channel, user, token, refreshToken, views]);
  return feed;
}

/** Something of the feed, kept fresh. What `read` returns must be the same until it changes: a view is, and so are words and numbers. */
export function useFeedState(feed, read, without) {
  const subscribe = useCallback((tell) => {
    feed?.addEventListener("change", tell);
    return () => feed?.removeEventListener("change", tell);
  }, [feed]);
  return useSyncExternalStore(subscribe, () => (feed ? read(feed) : without), () => without);
}

export function Bell(options) {
  const feed = useFeed(options);
  const { items, counts, hasMore, isLoading } = useFeedState(feed, (feed) => feed.view(), NOTHING);
  const trouble = useFeedState(feed, ({ status, problem }) => (status === "live" ? "" : problem || status), "");
  const canUndo = useFeedState(feed, ({ undoable }) => undoable !== null, false);
  const [refusal, setRefusal] = useState("");
  useEffect(() => {
    const tell = ({ detail }) => setRefusal(detail.reason);
    feed?.addEventListener("refused", tell);
    return () => feed?.removeEventListener("refused", tell);
  }, [feed]);

  return (
    <details onToggle={({ currentTarget }) => currentTarget.open && feed?.markAll("seen")}>
      <summary>Notifications {counts.unread_count > 0 && <b>{counts.unread_count}</b>}</summary>
      {trouble && <p role="status">{trouble}</p>}
      {refusal && <p role="alert">{refusal}</p>}
      <button onClick={() => feed.markAll("read")} disabled={!counts.unread_count}>Mark all as read</button>
      <button onClick={() => feed.undo()} disabled={!canUndo}>Undo</button>
      <ul>
        {items.map((item) => (
          <li key={item.id} style={{ fontWeight: item.read_at ? "normal" : "bold" }}>
            <a href={linkOf(item)} onClick={() => feed.mark("interacted", [item.id])}>{textOf(item)}</a>{" "}
            <time dateTime={item.inserted_at}>{new Date(item.inserted_at).toLocaleString()}</time>{" "}
            <button onClick={() => feed.mark(item.read_at ? "unread" : "read", [item.id])}>{item.read_at ? "Unread" : "Read"}</button>
            <button onClick={() => feed.mark("archived", [item.id])}>Archive</button>
          </li>
        ))}
      </ul>
      {hasMore && <button onClick={() => feed.loadMore()} disabled={isLoading}>More</button>}
    </details>
  );
}
