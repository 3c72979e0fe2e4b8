// <bellwire-bell> in React 19, which listens for `on` and an event's name.

import { useEffect, useRef, useState } from "react";
import "@bellwire/bell";

export function BellElement({ host, publicKey, channel, user, token, refreshToken, messages, tabs, onItem, onFollow, onCounts }) {
  const bell = useRef(null);
  const [isReady, setIsReady] = useState(false);

  // React gives no properties to an element that a server has rendered. The bell begins when it knows its user: after them.
  useEffect(() => {
    Object.assign(bell.current, { refreshToken, messages, tabs });
    setIsReady(true);
  }, [refreshToken, messages, tabs]);

  const follow = (event) => {
    if (!onFollow || !event.detail.link) return;
    // The page goes there by its own router.
    event.preventDefault();
    bell.current.close();
    onFollow(event.detail.link, event.detail.item);
  };

  return (
    <bellwire-bell
      ref={bell} host={host} public-key={publicKey} channel={channel} user={isReady ? user : undefined} token={token} toasts=""
      onitem={({ detail }) => onItem?.(detail.item)} onitem-click={follow} oncounts={({ detail }) => onCounts?.(detail)}
    />
  );
}
