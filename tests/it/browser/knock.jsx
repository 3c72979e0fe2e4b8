// The official bell for React as its guide says to use it: a button and what opens below it.

import { KnockFeedProvider, KnockProvider, NotificationFeedPopover, NotificationIconButton } from "@knocklabs/react";
import "@knocklabs/react/dist/index.css";
import { useRef, useState } from "react";
import { createRoot } from "react-dom/client";

function Bell() {
  const [isVisible, setIsVisible] = useState(false);
  const button = useRef(null);
  return (
    <>
      <NotificationIconButton ref={button} badgeCountType="unread" onClick={() => setIsVisible(!isVisible)} />
      <NotificationFeedPopover
        buttonRef={button} isVisible={isVisible} onClose={() => setIsVisible(false)} closeOnClickOutside={false}
        onNotificationClick={() => {}} />
    </>
  );
}

const place = document.querySelector("#knock");
const { host, publicKey, channel, user } = place.dataset;
createRoot(place).render(
  <KnockProvider apiKey={publicKey} host={host} user={{ id: user }}>
    <KnockFeedProvider feedId={channel}>
      <Bell />
    </KnockFeedProvider>
  </KnockProvider>,
);
