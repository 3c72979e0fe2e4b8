//! Links that are tracked, and pictures that tell that a message was opened.

use std::time::Duration;

use bellwire::model::environment::Tracking;
use bellwire::model::message::Message;
use bellwire::store::Batch;
use bellwire::verbs::Change;
use serde_json::{Value, json};

use crate::support::{EMAIL, FEED, PUSH, SLACK, Setup, World};

/// Where the server says that it is.
const ORIGIN: &str = "http://bell.test";

async fn world(link_tracking: bool) -> World {
    let channel_settings = json!({"in-app-feed": {"link_tracking": link_tracking}});
    World::with(Setup { channel_settings, ..Setup::default() }).await
}

/// What a workflow tells ann, whose only word is `text`; the item.
async fn told(world: &World, workflow: &str, text: &str) -> Value {
    world.clock.advance(1);
    world.trigger(workflow, &json!({"recipients": [{"id": "ann"}], "data": {"n": text}})).await;
    world.feed("ann").await["entries"][0].clone()
}

/// The address in the first anchor of an item's body.
fn href(item: &Value) -> String {
    let body = item["blocks"][0]["rendered"].as_str().unwrap();
    let href = body.split("href=\"").nth(1).and_then(|rest| rest.split('"').next());
    href.unwrap_or_else(|| panic!("{body}")).replace("&amp;", "&")
}

/// The part of an address behind its origin.
fn path(url: &str, origin: &str) -> String {
    url.strip_prefix(origin).unwrap_or_else(|| panic!("{url} does not begin with {origin}")).to_owned()
}

/// What has happened to a message, oldest first, once so much has; ids and times left out.
async fn events(world: &World, id: &str, count: usize) -> Vec<(String, Value)> {
    let waiting = async {
        loop {
            let events = world.core.store.message_events(id).await.unwrap();
            if events.len() >= count {
                let mut events = events;
                events.sort_by(|a, b| (a.inserted_at, &a.id).cmp(&(b.inserted_at, &b.id)));
                let data = |data: Option<String>| data.map_or(Value::Null, |data| serde_json::from_str(&data).unwrap());
                return events.into_iter().map(|event| (event.name, data(event.data))).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it is recorded")
}

async fn message(world: &World, id: &str) -> Message {
    world.core.store.message(world.env, id).await.unwrap().unwrap()
}

#[tokio::test]
async fn links_are_tracked_where_the_channel_or_the_step_says_so() {
    let text = "[x](https://a.example/x)";
    for (of_channel, workflow, is_tracked) in
        [(false, "comment", false), (true, "comment", true), (false, "tracked", true), (true, "untracked", false)]
    {
        let world = world(of_channel).await;
        let item = told(&world, workflow, text).await;
        let is_wrapped = href(&item).starts_with(&format!("{ORIGIN}/l/"));
        assert_eq!(is_wrapped, is_tracked, "F-TRK-01 F-TRK-02 D-TRK-01 {of_channel} {workflow}: {item}");
        assert_eq!(is_wrapped, href(&item) != "https://a.example/x", "F-TRK-01");
        assert_eq!(item["blocks"][1]["rendered"], "https://example.com", "F-BLC-07 D-TRK-06: actions are not");
        assert!(!item.to_string().contains("/o/"), "F-TRK-02: that an item was opened is what its reader says");
    }
    let world = World::start().await;
    assert_eq!(href(&told(&world, "comment", text).await), "https://a.example/x", "F-TRK-01: it is off");
}

#[tokio::test]
async fn a_link_leads_where_the_message_said_and_the_click_is_recorded() {
    let world = world(true).await;
    let url = "https://a.example/p?a=1&b=%C3%BC+x#part";
    let item = told(&world, "comment", &format!("see {url} now")).await;
    let id = item["id"].as_str().unwrap();
    let path = path(&href(&item), ORIGIN);
    let looked = world.call("HEAD", &path).await;
    assert_eq!((looked.status, looked.header("location")), (302, Some(url)), "whoever looks is told");
    for click in 1..=2 {
        world.clock.advance_seconds(60);
        let reply = world.get(&path).await;
        assert_eq!(
            (reply.status, reply.header("location"), reply.text.as_str()),
            (302, Some(url), ""),
            "F-TRK-05 D-TRK-13"
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"), "each click comes here");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "the token is in the address");
        assert_eq!(reply.header("x-robots-tag"), Some("noindex, nofollow"));
        let expected = vec![("message.link_clicked".to_owned(), json!({"url": url})); click];
        assert_eq!(events(&world, id, click).await, expected, "F-TRK-05: each click, and none who only looked");
        let clicked = world.get(&format!("/v1/messages/{id}")).sk().await.ok(200);
        let now = json!(world.clock.now());
        assert_eq!(
            (&clicked["link_clicked_at"], &clicked["clicked_at"]),
            (&now, &now),
            "F-STA-15 F-TRK-05: the latest"
        );
        assert_eq!((&clicked["read_at"], &clicked["seen_at"]), (&Value::Null, &Value::Null), "F-STA-15: not in a feed");
        assert_eq!(clicked["engagement_statuses"], json!(["link_clicked"]), "F-STA-15");
    }
    let feed = world.feed("ann").await;
    let meta = (&feed["meta"]["unread_count"], &feed["meta"]["unseen_count"], &feed["meta"]["total_count"]);
    assert_eq!(meta, (&json!(1), &json!(1), &json!(1)), "what is counted stays");
    assert_eq!(feed["entries"][0]["link_clicked_at"], json!(world.clock.now()));
    let shown = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let shown = shown["items"].as_array().unwrap().iter().filter(|event| event["type"] == "message.link_clicked");
    assert!(
        shown.clone().count() == 2 && shown.into_iter().all(|event| event["data"] == json!({"url": url})),
        "F-TRK-05"
    );
}

#[tokio::test]
async fn a_link_goes_on_when_its_message_is_gone() {
    let world = world(true).await;
    let item = told(&world, "comment", "[x](https://a.example/x)").await;
    let path = path(&href(&item), ORIGIN);
    world.clock.advance_seconds(3 * 365 * 86_400);
    let ids = vec![item["id"].as_str().unwrap().to_owned()];
    let head = world.core.store.feed_head(world.env, FEED, "ann").await.unwrap();
    let mut batch = Batch::new();
    batch.remove_from_feed(head.id, &ids);
    world.core.store.apply(batch).await.unwrap();
    let reply = world.get(&path).await;
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://a.example/x")), "F-TRK-08 F-RET-02");
    assert!(world.core.store.message_events(&ids[0]).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_our_own_tokens_lead_anywhere() {
    let world = world(true).await;
    let other = self::world(true).await;
    let text = "[x](https://evil.example)";
    let path_of = |item: &Value| path(&href(item), ORIGIN);
    let (own, foreign) = (
        path_of(&told(&world, "comment", "[x](https://a.example)").await),
        path_of(&told(&other, "comment", text).await),
    );
    let part = |path: &str, at: usize| path.trim_start_matches("/l/").split('.').nth(at).unwrap().to_owned();
    let page = world.post("/v1/users/ann/preference_center/signed_url").sk().await.ok(200);
    let opened = world.core.links(world.env).await.unwrap().unwrap().pixel("m");
    let opening = opened.split("/o/").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    for forged in [
        foreign,
        format!("/l/{}.{}.{}", part(&own, 0), part(&path_of(&told(&world, "comment", text).await), 1), part(&own, 2)),
        format!("/l/{}.{}.", part(&own, 0), part(&own, 1)),
        format!("/l/{}", page["token"].as_str().unwrap()),
        format!("/l/{opening}"),
        format!("/o/{}", own.trim_start_matches("/l/")),
        "/l/https://evil.example".to_owned(),
        "/l/".to_owned(),
        "/s/".to_owned(),
        "/s/0123456789".to_owned(),
        "/o/".to_owned(),
        "/o/nonsense".to_owned(),
    ] {
        let reply = world.get(&forged).await;
        assert_eq!((reply.status, reply.header("location")), (404, None), "F-TRK-04 {forged}");
    }
    for (method, status) in [("POST", 405), ("PUT", 405), ("OPTIONS", 204), ("GET", 302)] {
        assert_eq!(world.call(method, &own).await.status, status, "{method}");
    }
    let mut batch = Batch::new();
    let keys = world.core.store.page_keys().await.unwrap();
    keys.iter().for_each(|key| batch.retire_page_key(&key.kid, world.clock.now()));
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(world.get(&own).await.status, 404, "a key that was stolen leads nowhere any more");
}

#[tokio::test]
async fn whoever_guesses_is_slowed_down() {
    let mut settings = bellwire::http::Settings::default();
    settings.limits.is_on = true;
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..=60 {
        statuses.push(world.get("/l/nonsense").await.status);
    }
    assert_eq!((statuses[0], statuses[60]), (404, 429));
}

#[tokio::test]
async fn tracked_links_have_the_address_of_their_environment() {
    let channel_settings = json!({"in-app-feed": {"link_tracking": true}});
    let (links, opens) = ("https://click.example.com".to_owned(), "https://open.example.com".to_owned());
    let short_links = "https://s.example".to_owned();
    let tracking = Tracking { links: links.clone(), short_links: short_links.clone(), opens: opens.clone() };
    let world = World::with(Setup { channel_settings, tracking, ..Setup::default() }).await;
    let item = told(&world, "comment", "[x](https://a.example/x)").await;
    let path = path(&href(&item), &links);
    // Whatever address leads here: that of a message sent before goes on.
    let reply = world.get(&path).await;
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://a.example/x")), "F-TRK-08 F-TRK-09");
    let pixel = world.core.links(world.env).await.unwrap().unwrap().pixel("m");
    assert!(pixel.starts_with(&format!("<img src=\"{opens}/o/")), "F-TRK-09 {pixel}");
    assert!(shortened(&world, "m", "https://a.example/x").await.starts_with(&format!("{short_links}/s/")), "F-TRK-09");
}

/// A message over a channel that does not deliver yet, as one that does will make it.
async fn sent_over(world: &World, channel: &str) -> String {
    let item = told(world, "comment", "x").await;
    let like = message(world, item["id"].as_str().unwrap()).await;
    world.clock.advance_seconds(1);
    let id = bellwire::model::ids::Ksuid::mint(world.clock.now(), &[channel.as_bytes()]).to_string();
    let sent = Message { id: id.clone(), channel: channel.to_owned(), feed: None, ..like };
    let mut batch = Batch::new();
    batch.add_message(&sent);
    world.core.store.apply(batch).await.unwrap();
    id
}

#[tokio::test]
async fn a_click_in_a_chat_tells_that_it_was_read() {
    let world = world(true).await;
    for (channel, is_read) in [(SLACK, true), (EMAIL, false), (PUSH, false)] {
        let id = sent_over(&world, channel).await;
        let url = world.core.links(world.env).await.unwrap().unwrap().tracked(&id, "https://a.example/x");
        assert_eq!(world.get(&path(&url, ORIGIN)).await.status, 302);
        let mut expected = vec![("message.link_clicked".to_owned(), json!({"url": "https://a.example/x"}))];
        if is_read {
            expected.push(("message.read".to_owned(), Value::Null));
        }
        let mut found = events(&world, &id, expected.len()).await;
        found.sort_by_key(|(name, _)| name.clone());
        assert_eq!(found, expected, "F-TRK-05 D-AMB-10 {channel}");
        let message = message(&world, &id).await;
        let now = Some(world.clock.now());
        assert_eq!((message.link_clicked_at, message.read_at.is_some()), (now, is_read), "F-STA-15 {channel}");
    }
}

#[tokio::test]
async fn a_picture_that_is_loaded_tells_that_a_message_was_opened() {
    let mut world = world(false).await;
    let id = sent_over(&world, EMAIL).await;
    let pixel = world.core.links(world.env).await.unwrap().unwrap().pixel(&id);
    let url = pixel.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(pixel.contains("width=\"1\" height=\"1\""), "F-TRK-07");
    let path = path(url, ORIGIN);
    for loaded in 1..=2 {
        world.clock.advance_seconds(60);
        // It is no text: only its type and its length are looked at.
        let head = world.call("HEAD", &path).await;
        assert_eq!((head.status, head.header("content-type")), (200, Some("image/png")), "F-TRK-07");
        assert_eq!(head.header("cache-control"), Some("no-store"), "each opening comes here");
        let bytes = raw(&world, &path).await;
        assert_eq!(png_size(&bytes), (1, 1), "F-TRK-07");
        let expected = vec![("message.read".to_owned(), Value::Null); loaded];
        assert_eq!(events(&world, &id, loaded).await, expected, "F-TRK-07: each opening");
        assert_eq!(message(&world, &id).await.read_at, Some(world.clock.now()), "F-TRK-07: the latest");
    }
    world.clock.advance_seconds(60);
    assert_eq!(world.call("HEAD", &path).await.status, 200);
    world.stopped().await;
    assert_eq!(world.core.store.message_events(&id).await.unwrap().len(), 2, "whoever only looked has not opened it");
}

/// The body of an answer, whatever it is.
async fn raw(world: &World, path: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: bell.test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    answer.split_off(at + 4)
}

/// The width and the height that a PNG says it has.
fn png_size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!((&png[12..16], &png[png.len() - 8..png.len() - 4]), (&b"IHDR"[..], &b"IEND"[..]));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn what_was_answered_is_recorded_before_the_server_stops() {
    let mut world = world(true).await;
    let item = told(&world, "comment", "[x](https://a.example/x)").await;
    assert_eq!(world.get(&path(&href(&item), ORIGIN)).await.status, 302);
    world.stopped().await;
    let events = world.core.store.message_events(item["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(events.len(), 1, "F-TRK-05: the click is recorded behind the answer, and not lost");
}

/// The short address of a link, kept.
async fn shortened(world: &World, message: &str, url: &str) -> String {
    let links = world.core.links(world.env).await.unwrap().unwrap();
    let mut change = Change::new();
    let short = links.shortened(world.env, message, url, &mut change, world.clock.now());
    world.core.commit(change).await.unwrap();
    short
}

#[tokio::test]
async fn a_short_link_leads_where_it_was_said_to_for_good() {
    let world = world(false).await;
    let item = told(&world, "comment", "x").await;
    let id = item["id"].as_str().unwrap();
    let url = "https://a.example/a/very/long/address?a=1&b=2#c";
    let short = shortened(&world, id, url).await;
    let key = short.strip_prefix(&format!("{ORIGIN}/s/")).unwrap();
    assert_eq!(key.len(), 10, "F-TRK-04 D-TRK-07");
    assert_eq!(shortened(&world, id, url).await, short, "a step that is done again makes no other");
    let reply = world.get(&format!("/s/{key}")).await;
    assert_eq!((reply.status, reply.header("location")), (302, Some(url)), "F-TRK-04 D-TRK-13");
    assert_eq!(events(&world, id, 1).await, [("message.link_clicked".to_owned(), json!({"url": url}))], "F-TRK-05");
    let gone = shortened(&world, "gone", "https://b.example").await;
    let reply = world.get(&path(&gone, ORIGIN)).await;
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://b.example")), "F-TRK-08");
}
