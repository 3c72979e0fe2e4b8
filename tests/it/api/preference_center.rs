//! The preference centre: its configuration, its signed link, and its pages.

use bellwire::model::channel::ChannelKind;
use bellwire::model::preference_center::{Center, Row, RowKind};
use bellwire::sign::page_token::Purpose;
use bellwire::store::Batch;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::{FEED, Setup, World};

fn row(kind: RowKind, identifier: &str, name: &str, channel_types: &[ChannelKind]) -> Row {
    Row {
        kind,
        name: name.to_owned(),
        description: format!("About {name}"),
        identifier: Some(identifier.to_owned()).filter(|identifier| !identifier.is_empty()),
        channel_types: channel_types.to_vec(),
    }
}

/// A centre with a row of each kind.
fn center() -> Center {
    let rows = vec![
        row(RowKind::Category, "news", "News", &[]),
        row(RowKind::Workflow, "comment", "Comments", &[ChannelKind::Email, ChannelKind::Sms]),
        row(RowKind::Channel, FEED, "The bell", &[]),
        row(RowKind::ChannelTypes, "", "Ways", &[ChannelKind::Push, ChannelKind::Chat]),
        Row::commercial(),
    ];
    Center { is_enabled: true, rows, ..Center::default() }
}

/// What the switches of that centre are called on its page.
const NEWS: &str = "categories::news";
const COMMENTS: &str = "workflows:email+sms:comment";
const PUSH_TYPE: &str = "channel_types:push";
const CHAT_TYPE: &str = "channel_types:chat";
const COMMERCIAL: &str = "commercial_subscribed";

fn bell() -> String {
    format!("channels:{FEED}")
}

async fn world(center: Center) -> World {
    let world = World::with(Setup { center, ..Setup::default() }).await;
    world.put("/v1/users/ann").sk().json(&json!({"email": "ann@example.com"})).await.ok(200);
    world
}

/// The path of a user's page.
async fn page_of(world: &World, user: &str) -> String {
    let signed = world.post(&format!("/v1/users/{user}/preference_center/signed_url")).sk().await.ok(200);
    signed["url"].as_str().unwrap().strip_prefix("http://bell.test").unwrap().to_owned()
}

async fn unsubscribing(world: &World, user: &str) -> String {
    let token = world.core.page_token(world.env, user, Purpose::Unsubscribe).await.unwrap();
    format!("/p/{token}/unsubscribe")
}

/// A page as a browser has it.
struct Page {
    html: String,
    /// Each field's name, value, and whether it would be sent if the form was.
    fields: Vec<(String, String, bool)>,
}

impl Page {
    fn read(reply: &Reply) -> Page {
        assert_eq!(reply.status, 200, "{}", reply.text);
        let attribute = |input: &str, name: &str| {
            input.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        let inputs = reply.text.split("<input ").skip(1).filter_map(|rest| rest.split('>').next());
        let fields = inputs.map(|input| {
            let value = attribute(input, "value").unwrap();
            let is_sent = attribute(input, "type").as_deref() == Some("hidden")
                || (input.ends_with(" checked") && !input.ends_with(" disabled"));
            (attribute(input, "name").unwrap(), value.replace("&amp;", "&"), is_sent)
        });
        Page { html: reply.text.clone(), fields: fields.collect() }
    }

    fn switches(&self) -> Vec<(&str, bool)> {
        let fields = self.fields.iter().filter(|(name, ..)| name == "on");
        fields.map(|(_, value, is_sent)| (value.as_str(), *is_sent)).collect()
    }

    /// The form's body once these switches have been pressed.
    fn pressed(&self, switches: &[&str]) -> String {
        let mut body = Vec::new();
        for (name, value, is_sent) in &self.fields {
            let is_pressed = name == "on" && switches.contains(&value.as_str());
            if *is_sent != is_pressed {
                body.push(format!("{name}={}", value.replace('&', "%26").replace('+', "%2B").replace(' ', "+")));
            }
        }
        body.join("&")
    }
}

async fn open(world: &World, path: &str) -> Page {
    Page::read(&world.get(path).await)
}

/// Presses switches on the page as it is now, and saves; the page that is shown then.
async fn press(world: &World, path: &str, switches: &[&str]) -> Page {
    let page = open(world, path).await;
    let saved = world.post(path).body(page.pressed(switches)).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let location = saved.header("location").unwrap().to_owned();
    assert_eq!(location, format!("{path}?saved"));
    open(world, &location).await
}

async fn stored(world: &World) -> Value {
    let sets = world.core.store.preference_sets(world.env, "ann").await.unwrap();
    Value::Object(sets.into_iter().collect())
}

#[tokio::test]
async fn the_configuration_is_told_to_whoever_may_read_preferences() {
    let vars =
        json!({"app_name": "Acme", "branding": {"primary_color": "#0EA5E9", "dark_logo_url": "https://a.io/d.png"}});
    let setup = || Setup {
        center: center(),
        vars: vars.as_object().unwrap().clone(),
        enhanced_security: true,
        ..Setup::default()
    };
    let world = World::with(setup()).await;
    let path = "/v1/users/ann/preference_center/config";
    assert_eq!(world.get(path).sk().await.code(), (404, "resource_missing".to_owned()), "F-AMB-63");
    world.put("/v1/users/ann").sk().await.ok(200);
    let config = world.get(path).sk().await.ok(200);
    assert_eq!(config["user_email"], "ann", "F-PCC-04");
    world.put("/v1/users/ann").sk().json(&json!({"email": "ann@example.com"})).await.ok(200);
    let config = world.get(path).sk().await.ok(200);
    assert_eq!(config["user_email"], "ann@example.com", "F-PCC-04");
    let facts = (&config["enabled"], &config["account_name"], &config["knock_branding_required"]);
    assert_eq!(facts, (&json!(true), &json!("Acme"), &json!(false)), "F-PCC-01");
    assert_eq!(config["branding"]["primary_color"], "#0EA5E9", "F-PCC-01");
    assert_eq!(config["branding"]["dark"]["logo_url"], "https://a.io/d.png", "F-PCC-01");
    let rows = config["config"]["rows"].as_array().unwrap();
    let expected = json!({"type": "workflow", "name": "Comments", "description": "About Comments",
        "identifier": "comment", "channel_types": ["email", "sms"]});
    assert_eq!((rows.len(), &rows[1]), (5, &expected), "F-PCC-02 F-PCC-03");
    assert_eq!(rows[4]["type"], "commercial_subscribed", "F-PCC-02 F-PCC-07");
    assert_eq!(world.get(path).pk().token(&world.token_of("ann")).await.ok(200), config, "F-PCC-01 F-AMB-7");
    assert_eq!(world.get(path).pk().token(&world.token_of("bob")).await.status, 403, "F-AUT-15");
    for (grant, status) in [("preferences/read", 200), ("preferences/write", 403)] {
        let grants = json!({"https://api.knock.app/v1/users/ann": {grant: []}});
        let token = world.token(&json!({"sub": "ann", "explicit_grants": true, "grants": grants}));
        assert_eq!(world.get(path).pk().token(&token).await.status, status, "F-AMB-7 {grant}");
    }
    let plain = World::start().await;
    plain.put("/v1/users/ann").sk().await.ok(200);
    let config = plain.get(path).sk().await.ok(200);
    let facts = (&config["enabled"], &config["account_name"], &config["config"]["rows"][0]["type"]);
    assert_eq!(facts, (&json!(false), &Value::Null, &json!("commercial_subscribed")), "F-PCC-01 F-PCC-07");
}

#[tokio::test]
async fn a_signed_link_opens_the_page_without_a_key() {
    let world = world(center()).await;
    let path = "/v1/users/ann/preference_center/signed_url";
    let signed = world.post(path).sk().await.ok(200);
    let (url, token) = (signed["url"].as_str().unwrap(), signed["token"].as_str().unwrap());
    assert_eq!(url, format!("http://bell.test/p/{token}"), "F-PCC-05");
    assert_eq!(token.split('.').count(), 3, "F-PCC-05: a JWT");
    assert_eq!(world.post(path).sk().await.ok(200), signed, "F-PCC-05: the same each time");
    assert_eq!(world.post(path).pk().await.code(), (401, "incorrect_token_type".to_owned()), "F-PCC-05");
    let nobody = world.post("/v1/users/bob/preference_center/signed_url").sk().await;
    assert_eq!(nobody.code(), (404, "resource_missing".to_owned()), "F-AMB-63");
    world.clock.advance_seconds(10 * 365 * 24 * 3600);
    let page = open(&world, &format!("/p/{token}")).await;
    assert!(page.html.contains("ann@example.com") && page.html.contains("Comments"), "F-PCC-05: it never ends");
}

#[tokio::test]
async fn what_is_switched_is_merged_into_the_default_set() {
    let world = world(center()).await;
    let path = page_of(&world, "ann").await;
    let own = json!({"categories": {"other": false}, "workflows": {"comment": {"channel_types": {"push": false}}}});
    world.put("/v1/users/ann/preferences/default").sk().json(&own).await.ok(200);
    world.put("/v1/users/ann/preferences/north").sk().json(&json!({"categories": {"news": true}})).await.ok(200);
    let bell = bell();
    let all: Vec<(&str, bool)> =
        [NEWS, COMMENTS, &bell, PUSH_TYPE, CHAT_TYPE, COMMERCIAL].into_iter().map(|id| (id, true)).collect();
    assert_eq!(open(&world, &path).await.switches(), all, "F-PCC-06 F-PRF-24");

    let page = press(&world, &path, &[NEWS, COMMENTS, &bell, PUSH_TYPE]).await;
    assert!(page.html.contains("Your preferences have been saved."), "F-PCC-06");
    let off = [NEWS, COMMENTS, &bell, PUSH_TYPE];
    let expected: Vec<(&str, bool)> = all.iter().map(|(id, _)| (*id, !off.contains(id))).collect();
    assert_eq!(page.switches(), expected, "F-PCC-06");
    let set = json!({"categories": {"other": false, "news": false}, "channels": {FEED: false},
        "workflows": {"comment": {"channel_types": {"email": false, "push": false, "sms": false}}},
        "channel_types": {"push": false}});
    let north = json!({"categories": {"news": true}});
    assert_eq!(stored(&world).await, json!({"default": set, "north": north}), "F-PCC-06 F-PCC-08");

    press(&world, &path, &[]).await;
    assert_eq!(stored(&world).await["default"], set, "nothing was pressed");
    press(&world, &path, &[NEWS, COMMENTS, COMMERCIAL]).await;
    let now = stored(&world).await["default"].clone();
    assert_eq!(now["categories"], json!({"other": false, "news": true}), "F-PCC-06");
    let types = json!({"email": true, "push": false, "sms": true});
    assert_eq!((&now["workflows"]["comment"]["channel_types"], &now["commercial_subscribed"]), (&types, &json!(false)));
    world.trigger("comment", &json!({"recipients": ["ann"]})).await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 0, "F-PEV-09: the bell is off");
}

#[tokio::test]
async fn a_page_says_nothing_of_what_it_did_not_change() {
    let defaults = json!({"categories": {"news": false}});
    let setup = Setup { center: center(), preferences: Some(defaults), ..Setup::default() };
    let world = World::with(setup).await;
    world.put("/v1/users/ann").sk().await.ok(200);
    let path = page_of(&world, "ann").await;
    let page = open(&world, &path).await;
    assert_eq!(page.switches()[0], (NEWS, false), "F-PRF-16 F-PRF-23: over the defaults");
    // Meanwhile they change their mind in the app.
    world.put("/v1/users/ann/preferences/default").sk().json(&json!({"categories": {"news": true}})).await.ok(200);
    world.post(&path).body(page.pressed(&[PUSH_TYPE])).await;
    let expected = json!({"categories": {"news": true}, "channel_types": {"push": false}});
    assert_eq!(stored(&world).await["default"], expected, "F-PCC-06");
    for body in ["", "on=nonsense&was=more", "on=workflows::comment", "%zz=1&on"] {
        world.post(&path).body(body).await;
        assert_eq!(stored(&world).await["default"], expected, "{body}");
    }
}

#[tokio::test]
async fn what_conditions_decide_is_shown_and_cannot_be_switched() {
    let world = world(center()).await;
    let path = page_of(&world, "ann").await;
    let conditions = json!({"conditions": [{"variable": "data.n", "operator": "greater_than", "argument": 3}]});
    let set = json!({"categories": {"news": conditions}, "commercial_subscribed": conditions});
    world.put("/v1/users/ann/preferences/default").sk().json(&set).await.ok(200);
    let page = open(&world, &path).await;
    assert_eq!(page.html.matches(" disabled>").count(), 2, "F-PCC-06");
    assert_eq!(page.html.matches("This cannot be changed here.").count(), 2, "F-PCC-06");
    world.post(&path).body(format!("on={NEWS}&on={COMMERCIAL}")).await;
    world.post(&path).body(format!("was={NEWS}&was={COMMERCIAL}&was={PUSH_TYPE}")).await;
    let expected = json!({"categories": {"news": conditions}, "commercial_subscribed": conditions, "channel_types": {"push": false}});
    assert_eq!(stored(&world).await["default"], expected, "F-PCC-06");
}

#[tokio::test]
async fn a_centre_that_is_off_asks_of_commercial_messages_alone() {
    let world = world(Center { is_enabled: false, ..center() }).await;
    let path = page_of(&world, "ann").await;
    assert_eq!(open(&world, &path).await.switches(), [(COMMERCIAL, true)], "F-PCC-07");
    world.post(&path).body(format!("was={NEWS}&was={COMMERCIAL}")).await;
    assert_eq!(stored(&world).await, json!({"default": {"commercial_subscribed": false}}), "F-PCC-07");
    assert_eq!(open(&world, &path).await.switches(), [(COMMERCIAL, false)], "F-PCC-07");
}

#[tokio::test]
async fn pages_of_two_devices_lose_nothing_of_each_other() {
    let one = world(center()).await;
    let second =
        Setup { center: center(), store: Some(one.core.store.clone()), has_signing_key: false, ..Setup::default() };
    let two = World::with(second).await;
    let path = page_of(&one, "ann").await;
    let page = open(&two, &path).await;
    let bell = bell();
    let presses = [NEWS, COMMENTS, &bell, PUSH_TYPE, CHAT_TYPE, COMMERCIAL];
    let calls = presses.iter().enumerate().map(|(at, switch)| {
        let world = if at % 2 == 0 { &one } else { &two };
        world.post(&path).body(page.pressed(&[switch])).send()
    });
    for reply in join_all(calls).await {
        assert_eq!(reply.status, 303, "{}", reply.text);
    }
    let page = open(&one, &path).await;
    assert!(page.switches().iter().all(|(_, is_on)| !is_on), "F-PCC-06 {:?}", page.switches());
}

#[tokio::test]
async fn a_link_is_good_for_its_user_and_its_page_only() {
    let world = world(center()).await;
    let (path, ending) = (page_of(&world, "ann").await, unsubscribing(&world, "ann").await);
    let token = path.strip_prefix("/p/").unwrap();
    let other = ending.strip_prefix("/p/").unwrap().strip_suffix("/unsubscribe").unwrap();
    let (head, rest) = token.split_once('.').unwrap();
    let lost =
        |reply: Reply| assert_eq!((reply.status, reply.text.contains("not valid")), (404, true), "{}", reply.text);
    for bad in ["", "a", "a.b.c", &token[1..], &format!("{head}.e30.{}", rest.rsplit_once('.').unwrap().1), other] {
        lost(world.get(&format!("/p/{bad}")).await);
        lost(world.post(&format!("/p/{bad}")).body(format!("was={COMMERCIAL}")).await);
    }
    lost(world.get(&format!("/p/{token}/unsubscribe")).await);
    lost(world.post(&format!("/p/{token}/unsubscribe")).await);
    assert_eq!(stored(&world).await, json!({}), "nothing was done by any of them");
    for path in [&path, &ending] {
        let reply = world.call("DELETE", path).await;
        assert_eq!(reply.status, 405);
    }

    world.delete("/v1/users/ann").sk().await;
    lost(world.get(&path).await);
    world.clock.advance(1);
    world.put("/v1/users/ann").sk().await.ok(200);
    lost(world.get(&path).await);
    lost(world.get(&ending).await);
    let anew = page_of(&world, "ann").await;
    assert_ne!(anew, path, "F-USR-13: whoever comes anew inherits nothing");
    open(&world, &anew).await;

    let kid = world.core.store.page_keys().await.unwrap().pop().unwrap().kid;
    let mut batch = Batch::new();
    batch.retire_page_key(&kid, world.clock.now());
    world.core.store.apply(batch).await.unwrap();
    lost(world.get(&anew).await);
    let later = page_of(&world, "ann").await;
    open(&world, &later).await;
    assert_eq!(world.core.store.page_keys().await.unwrap().len(), 2, "another key has been made");
}

#[tokio::test]
async fn one_click_ends_commercial_messages_and_another_takes_it_back() {
    let world = world(center()).await;
    let path = unsubscribing(&world, "ann").await;
    let own = json!({"workflows": {"comment": false}});
    world.put("/v1/users/ann/preferences/default").sk().json(&own).await.ok(200);
    let wanted = async || stored(&world).await["default"]["commercial_subscribed"].clone();
    assert_eq!(world.call("HEAD", &path).await.status, 200);
    assert_eq!(wanted().await, Value::Null, "whoever only looks has not clicked");
    // What a mail program posts (RFC 8058).
    let reply = world.post(&path).body("List-Unsubscribe=One-Click").await;
    assert_eq!((reply.status, wanted().await), (200, json!(false)), "F-PCC-10");
    let back = world.post(&path).body("subscribe=1").await;
    assert_eq!((back.status, wanted().await), (200, json!(true)), "F-PCC-10");
    assert!(back.text.contains("You are subscribed again."));
    let reply = world.get(&path).await;
    assert_eq!((reply.status, wanted().await), (200, json!(false)), "F-PCC-10");
    assert!(reply.text.contains("You have been unsubscribed") && reply.text.contains("name=\"subscribe\""), "F-PCC-10");
    assert_eq!(
        stored(&world).await["default"]["workflows"],
        json!({"comment": false}),
        "F-PCC-10: nothing else changes"
    );
    assert_eq!(world.post(&path).await.status, 200, "F-PCC-10: with no body at all");

    let mut center = center();
    center.unsubscribed.title = "Bye".to_owned();
    center.unsubscribed.body = "We are <sad>.".to_owned();
    let other = self::world(center.clone()).await;
    let path = unsubscribing(&other, "ann").await;
    let reply = other.get(&path).await;
    assert!(reply.text.contains("Bye") && reply.text.contains("We are &lt;sad&gt;."), "F-PCC-10 {}", reply.text);
    center.unsubscribed.redirect_url = Some("https://example.com/bye".to_owned());
    let other = self::world(center).await;
    let path = unsubscribing(&other, "ann").await;
    let reply = other.get(&path).await;
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://example.com/bye")), "F-PCC-10");
    assert_eq!(stored(&other).await["default"]["commercial_subscribed"], false, "F-PCC-10");
    assert_eq!(other.post(&path).body("List-Unsubscribe=One-Click").await.status, 200, "RFC 8058: no redirect");
}

#[tokio::test]
async fn pages_let_nothing_in_and_nothing_out() {
    let world = world(center()).await;
    for path in [page_of(&world, "ann").await, unsubscribing(&world, "ann").await, "/p/nonsense".to_owned()] {
        let reply = world.get(&path).header("origin", "https://evil.example").await;
        let policy = reply.header("content-security-policy").unwrap();
        for directive in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "the token is in the address");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("x-robots-tag"), Some("noindex, nofollow"));
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(reply.header("access-control-allow-origin"), None, "no other page may read it");
        assert!(!reply.text.contains("<script") && !reply.text.contains(" style="), "it works without scripts");
    }
}

#[tokio::test]
async fn a_page_can_be_read_out_and_used_with_keys_alone() {
    let world = world(Center { lang: "de".to_owned(), ..center() }).await;
    let page = open(&world, &format!("{}?saved", page_of(&world, "ann").await)).await;
    let html = &page.html;
    assert!(html.starts_with("<!doctype html><html lang=\"de\" dir=\"ltr\">"), "{html}");
    assert_eq!((html.matches("<h1").count(), html.matches("<main>").count()), (1, 1));
    assert!(html.contains("role=\"status\""), "what has happened is said");
    let boxes = html.matches("type=\"checkbox\"").count();
    assert_eq!(
        (boxes, html.matches("<label class=\"switch\"><input type=\"checkbox\"").count()),
        (6, 6),
        "each has a name"
    );
    assert_eq!(html.matches("<fieldset aria-describedby=\"about-3\"><legend>Ways</legend>").count(), 1);
    assert_eq!(html.matches("<button>Save</button>").count(), 1);
    assert!(!html.contains("tabindex") && !html.contains("onclick"));
    let arabic = self::world(Center { lang: "ar-EG".to_owned(), ..center() }).await;
    let page = open(&arabic, &page_of(&arabic, "ann").await).await;
    assert!(page.html.contains("<html lang=\"ar-EG\" dir=\"rtl\">"), "{}", page.html);
}

#[tokio::test]
async fn whoever_tries_tokens_is_slowed_down() {
    let settings = bellwire::http::Settings { limits: Default::default(), ..Default::default() };
    let world = World::with(Setup { settings, center: center(), ..Setup::default() }).await;
    let mut statuses = Vec::new();
    for n in 0..70 {
        statuses.push(world.get(&format!("/p/{n}")).await.status);
    }
    assert_eq!((statuses[0], statuses[69]), (404, 429), "F-RAT-01: tier 3");
    world.put("/v1/users/ann").sk().await.ok(200);
    open(&world, &page_of(&world, "ann").await).await;
}

#[tokio::test]
async fn the_first_links_are_good_whoever_makes_the_key() {
    let world = world(center()).await;
    let tokens = join_all((0..8).map(|_| world.core.page_token(world.env, "ann", Purpose::Preferences))).await;
    for token in tokens {
        open(&world, &format!("/p/{}", token.unwrap())).await;
    }
}

#[tokio::test]
async fn templates_may_lead_to_the_pages() {
    let world = World::with(Setup { center: center(), ..Setup::default() }).await;
    let links = async |workflow: &str, user: &str| -> Vec<String> {
        world.trigger(workflow, &json!({"recipients": [{"id": user}]})).await;
        let item = world.feed(user).await["entries"][0].clone();
        let blocks = item["blocks"].as_array().unwrap();
        let rendered = |name: &str| {
            let block = blocks.iter().find(|block| block["name"] == name).unwrap();
            block["rendered"].as_str().unwrap().to_owned()
        };
        assert!(rendered("body").contains("Acme"), "the other variables are there, too");
        rendered("action_url").split_whitespace().map(str::to_owned).collect()
    };
    let plain = links("linked", "ann").await;
    let signed = world.post("/v1/users/ann/preference_center/signed_url").sk().await.ok(200);
    assert_eq!(plain, [signed["url"].as_str().unwrap()], "F-PCC-09");
    let commercial = links("offer", "bob").await;
    assert_eq!(commercial.len(), 2, "F-PCC-09: commercial messages have both");
    let path = |url: &str| url.strip_prefix("http://bell.test").unwrap().to_owned();
    assert!(open(&world, &path(&commercial[0])).await.html.contains("bob"), "F-PCC-09: each recipient's own");
    assert_eq!(world.post(&path(&commercial[1])).body("List-Unsubscribe=One-Click").await.status, 200, "F-PCC-10");
    let set = world.get("/v1/users/bob/preferences/default").sk().await.ok(200);
    assert_eq!(set["commercial_subscribed"], false, "F-PCC-10");
    world.trigger("offer", &json!({"recipients": ["bob"]})).await;
    assert_eq!(world.feed("bob").await["meta"]["total_count"], 1, "F-PEV-07 F-PCC-10");
    world.trigger("linked", &json!({"recipients": ["bob"]})).await;
    assert_eq!(world.feed("bob").await["meta"]["total_count"], 2, "F-PCC-10: the others go on");
    let shown = world.feed("ann").await["vars"].clone();
    assert_eq!(shown.get("manage_preferences_url"), None, "links are in no one's list of variables");
}
