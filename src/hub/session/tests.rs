//! Tests of the session: what is said to it, and what has to be done.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::model::channel::{Channel, ChannelKind, ResponseFilter};
use crate::model::environment::{Environment, Settings};
use crate::model::time::Time;
use crate::sign::api_key::Kind;
use crate::sign::key_ring::{KeyRing, Material, SigningKey};
use crate::sign::user_token::Claims;

const FEED: &str = "5f3c1d6e-0000-4000-8000-000000000001";
const MAIL: &str = "5f3c1d6e-0000-4000-8000-000000000002";
const GUIDES: &str = "5f3c1d6e-0000-4000-8000-000000000003";
const AT: &str = "2026-09-21T10:00:00.000001Z";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn claims(claims: &Value) -> Claims {
    let key = SigningKey { kid: None, material: Material::Hs256(SECRET.to_vec()) };
    let token = crate::sign::issue::sign_hs256(claims, SECRET, None);
    crate::sign::user_token::verify(&token, None, &KeyRing::new(&[key]).unwrap(), Time::from_micros(0)).unwrap()
}

/// A session, what is configured around it, and everything it decided.
struct Stage {
    session: Session,
    catalog: Catalog,
    plain: Arc<Filter>,
}

impl Stage {
    fn new(claims: Option<Claims>) -> Self {
        let at = Time::from_micros(0);
        let channel = |id: &str, kind| Channel {
            id: id.parse().unwrap(),
            key: id.into(),
            name: String::new(),
            kind,
            provider: String::new(),
            created_at: at,
            updated_at: at,
            conditions: None,
            response_filter: ResponseFilter::default(),
        };
        let channels = vec![
            channel(FEED, ChannelKind::InAppFeed),
            channel(MAIL, ChannelKind::Email),
            channel(GUIDES, ChannelKind::InAppGuide),
        ];
        let settings = Settings::default();
        let environment = Environment { number: 1, id: Uuid::nil(), slug: String::new(), settings };
        let caller = Caller { environment: Arc::new(environment), kind: Kind::Public, claims, scope: None };
        Stage {
            session: Session::new(Vsn::V2, Arc::new(caller)),
            catalog: Catalog::new(Vec::new(), channels, Vec::new()),
            plain: Arc::new(Filter::default()),
        }
    }

    fn open() -> Self {
        Stage::new(None)
    }

    fn of(token: Value) -> Self {
        Stage::new(Some(claims(&token)))
    }

    fn hear(&mut self, frame: &Value) -> Vec<Out> {
        self.session.hear(&frame.to_string(), &self.catalog, &self.plain)
    }

    /// What is done, in words.
    fn told(&mut self, frame: Value) -> Vec<String> {
        self.hear(&frame).into_iter().map(word).collect()
    }
}

fn word(out: Out) -> String {
    match out {
        Out::Say(text) | Out::Refuse(text) => text,
        Out::Join(enter) => format!("join {} as {:?}", enter.name.user, enter.join_ref),
        Out::Leave { name, is_clean } => format!("leave {} {is_clean}", name.user),
        Out::JoinGuides(entry) => format!("guides of {:?} {}", entry.target, entry.reply),
        Out::LeaveGuides(channel) => format!("leave guides {channel}"),
        Out::Ask(request) => format!("ask {:?}", request.what),
        Out::Close(code) => format!("close {code}"),
    }
}

fn topic(user: &str) -> String {
    format!("feeds:{FEED}:{user}")
}

fn reply(join_ref: Option<&str>, reference: &str, topic: &str, status: &str, response: Value) -> String {
    // Spelled by hand: the order of keys and the absence of spaces matter (socket.md 3.2).
    let join_ref = join_ref.map_or("null".to_owned(), |join_ref| format!("\"{join_ref}\""));
    format!(r#"[{join_ref},"{reference}","{topic}","phx_reply",{{"status":"{status}","response":{response}}}]"#)
}

#[test]
fn a_heartbeat_is_answered_before_any_join() {
    let told = Stage::open().told(json!([null, "5", "phoenix", "heartbeat", {}]));
    assert_eq!(told, [reply(None, "5", "phoenix", "ok", json!({}))], "F-SOC-05");
}

#[test]
fn a_topic_is_split_at_its_first_two_colons() {
    for user in ["ann", "a:b:c", "ann@example.com", "ännchen 🔔", "%3A"] {
        let told = Stage::open().told(json!(["7", "7", topic(user), "phx_join", {"client_a": {}}]));
        assert_eq!(told, [format!("join {user} as Some(\"7\")")], "F-SOC-07 F-SOC-06");
    }
}

#[test]
fn a_channel_of_guides_is_joined_for_a_user_and_left() {
    let mut stage = Stage::of(json!({"sub": "ann"}));
    let topic = format!("guides:{GUIDES}");
    let ok = |join_ref: &str, reference: &str| reply(Some(join_ref), reference, &topic, "ok", json!({}));
    let close = |join_ref: &str| format!(r#"["{join_ref}","{join_ref}","{topic}","phx_close",{{}}]"#);
    let join = |join_ref: &str, payload: Value| json!([join_ref, join_ref, topic, "phx_join", payload]);
    let left = format!("leave guides {GUIDES}");
    let told = stage.told(join("7", json!({"user_id": "ann", "tenant": "acme"})));
    assert!(
        told.len() == 1 && told[0].starts_with("guides of Target { user: \"ann\", tenant: Some(\"acme\")"),
        "{told:?}"
    );
    assert!(told[0].ends_with(&ok("7", "7")), "F-SOC-21 {told:?}");
    let told = stage.told(join("9", json!({"user_id": "ann"})));
    assert!(told[1].ends_with(&ok("9", "9")), "F-SOC-11 {told:?}");
    assert_eq!((&told[0], &told[2]), (&left, &close("7")), "F-SOC-11: it takes the place of the other");
    assert_eq!(stage.told(json!(["7", "10", topic, "phx_leave", {}])), Vec::<String>::new(), "F-SOC-11");
    assert_eq!(stage.told(json!(["9", "11", topic, "phx_leave", {}])), [left, ok("9", "11"), close("9")], "F-SOC-12");
    assert_eq!(stage.session.guides().count(), 0);
    assert_eq!(stage.told(json!(["9", "12", topic, "phx_leave", {}])), [ok("9", "12")], "F-SOC-12");
    for (payload, reason) in [
        (json!({"user_id": "bob"}), "The user token was made for another user."),
        (json!({}), "`user_id` is required: for whom guides are asked"),
    ] {
        let refused = reply(Some("13"), "13", &topic, "error", json!({"reason": reason}));
        assert_eq!(stage.told(join("13", payload)), [refused], "F-SOC-06 F-AUT-15");
    }
    let granted = |grant: &str| {
        let grants = json!({"https://api.knock.app/v1/users/ann": {grant: [{}]}});
        let mut stage = Stage::of(json!({"sub": "ann", "explicit_grants": true, "grants": grants}));
        stage.told(join("1", json!({"user_id": "ann"})))[0].starts_with("guides of")
    };
    assert!(granted("user/guide_read") && !granted("user/feed_read"), "F-GRN-08");
    let refused = Stage::open().told(json!(["1", "1", format!("guides:{FEED}"), "phx_join", {"user_id": "ann"}]));
    assert!(refused[0].contains("is not an in-app guide channel"), "{refused:?}");
}

#[test]
fn what_cannot_be_joined_is_refused_and_the_socket_lives() {
    let error = |join_ref, topic: &str, reason: &str| reply(join_ref, "8", topic, "error", json!({"reason": reason}));
    let not_a_feed = "the channel is not an in-app feed of this server";
    let other = "The user token was made for another user.";
    let mail = format!("feeds:{MAIL}:ann");
    let shouted = format!("feeds:{}:ann", FEED.to_uppercase());
    let as_known = format!("write the channel's id as `{FEED}`");
    let refs: Map<String, Value> = (0..33).map(|number| (format!("client_{number}"), json!({}))).collect();
    let huge = json!({"client_a": {"source": "x".repeat(MOST_JOIN_BYTES)}});
    for (topic, payload, expected, rule) in [
        ("rooms:1".to_owned(), json!({}), error(None, "rooms:1", "unmatched topic"), "F-SOC-26"),
        ("feeds:x".to_owned(), json!({}), error(None, "feeds:x", "unmatched topic"), "F-SOC-26"),
        (
            "guides:c".to_owned(),
            json!({}),
            error(Some("7"), "guides:c", "the channel is not an in-app guide channel of this server"),
            "3.7",
        ),
        (topic("bob"), json!({}), error(Some("7"), &topic("bob"), other), "F-SOC-08"),
        ("feeds:x:ann".to_owned(), json!({}), error(Some("7"), "feeds:x:ann", not_a_feed), "F-SOC-08"),
        (mail.clone(), json!({}), error(Some("7"), &mail, not_a_feed), "F-SOC-08"),
        (shouted.clone(), json!({}), error(Some("7"), &shouted, &as_known), "one spelling"),
        (topic("ann"), refs.into(), error(Some("7"), &topic("ann"), "a join names at most 32 feeds"), "bounded"),
        (
            topic("ann"),
            huge,
            error(Some("7"), &topic("ann"), "the payload of a join has at most 8192 bytes"),
            "bounded",
        ),
    ] {
        let mut stage = Stage::of(json!({"sub": "ann"}));
        assert_eq!(stage.told(json!(["7", "8", topic, "phx_join", payload])), [expected], "{rule}");
        assert_eq!(stage.session.joined().count(), 0, "{rule}");
        assert_eq!(stage.told(json!([null, "9", "phoenix", "heartbeat", {}])).len(), 1, "{rule}");
    }
}

#[test]
fn without_a_token_any_user_is_joinable_with_one_only_its_own_and_by_grant() {
    let user = "https://api.knock.app/v1/users/ann";
    let granted = |grant: &str| json!({"sub": "ann", "explicit_grants": true, "grants": {user: {grant: []}}});
    for (stage, who, is_in) in [
        (Stage::open(), "anybody", true),
        (Stage::of(json!({"sub": "ann"})), "ann", true),
        (Stage::of(json!({"sub": "ann"})), "Ann", false),
        (Stage::of(granted("user/feed_read")), "ann", true),
        (Stage::of(granted("user/feed_write")), "ann", false),
        (Stage::of(granted("user/read")), "ann", false),
    ] {
        let mut stage = stage;
        stage.told(json!(["7", "8", topic(who), "phx_join", {}]));
        assert_eq!(stage.session.joined().count(), usize::from(is_in), "F-SOC-08 {who}");
    }
}

#[test]
fn a_feed_of_a_tenant_that_the_token_does_not_cover_silences_no_other() {
    let tenant = "https://api.knock.app/v1/tenants/acme";
    let token = json!({"sub": "ann", "grants": {tenant: {"feed/read": []}}});
    let both = json!({"client_a": {"tenant": "acme"}, "client_b": {"tenant": "other"}});
    let mut stage = Stage::of(token.clone());
    let out = stage.hear(&json!(["7", "8", topic("ann"), "phx_join", both]));
    let [Out::Join(enter)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(enter.view.clients().collect::<Vec<_>>(), ["client_a"], "F-GRN-12");
    for payload in [json!({"client_b": {"tenant": "other"}}), json!({}), json!({"bellwire": {}})] {
        let told = Stage::of(token.clone()).told(json!(["7", "8", topic("ann"), "phx_join", payload]));
        assert!(told[0].contains(r#""status":"error""#), "F-GRN-12 {told:?}");
    }
}

#[test]
fn a_join_of_a_joined_topic_takes_its_place() {
    let mut stage = Stage::open();
    stage.told(json!(["1", "1", topic("ann"), "phx_join", {}]));
    let told = stage.told(json!(["7", "7", topic("ann"), "phx_join", {}]));
    let closed = format!(r#"["1","1","{}","phx_close",{{}}]"#, topic("ann"));
    assert_eq!(told, ["leave ann true".to_owned(), "join ann as Some(\"7\")".to_owned(), closed], "F-SOC-12");
    assert_eq!(stage.session.joined().count(), 1);
}

#[test]
fn a_leave_ends_its_own_join_and_no_other() {
    let mut stage = Stage::open();
    let ann = topic("ann");
    let leave = |join_ref: &str| json!([join_ref, "10", topic("ann"), "phx_leave", {}]);
    assert_eq!(stage.told(leave("7")), [reply(Some("7"), "10", &ann, "ok", json!({}))], "a topic that is not joined");
    stage.told(json!(["1", "1", ann, "phx_join", {}]));
    stage.told(json!(["7", "7", ann, "phx_join", {}]));
    assert!(stage.told(leave("1")).is_empty(), "F-SOC-11: an older join");
    let closed = format!(r#"["7","7","{ann}","phx_close",{{}}]"#);
    let expected = ["leave ann true".to_owned(), reply(Some("7"), "10", &ann, "ok", json!({})), closed];
    assert_eq!(stage.told(leave("7")), expected, "F-SOC-12");
    assert_eq!(stage.session.joined().count(), 0, "F-SOC-12");
}

#[test]
fn leave_and_join_in_one_go_are_both_honoured() {
    let mut stage = Stage::open();
    stage.told(json!(["7", "7", topic("ann"), "phx_join", {"client_a": {}}]));
    assert_eq!(stage.told(json!(["7", "9", topic("ann"), "phx_leave", {}])).len(), 3, "F-SOC-11");
    let told = stage.told(json!(["10", "10", topic("ann"), "phx_join", {"client_a": {}, "client_b": {}}]));
    assert_eq!(told, ["join ann as Some(\"10\")"], "F-SOC-11");
}

#[test]
fn pushes_on_topics_that_are_not_joined_are_unmatched_unknown_ones_lose_the_channel() {
    let mut stage = Stage::open();
    let unmatched = |topic: &str| reply(None, "3", topic, "error", json!({"reason": "unmatched topic"}));
    for topic in [topic("ann"), "phoenix".to_owned(), "rooms:1".to_owned()] {
        assert_eq!(stage.told(json!(["1", "3", topic, "feed.fetch", {}])), [unmatched(&topic)], "F-SOC-26");
    }
    for event in ["shout", "feed.mark", "feed.fetch"] {
        stage.told(json!(["1", "1", topic("ann"), "phx_join", {"client_a": {}}]));
        let lost = format!(r#"["1","1","{}","phx_error",{{}}]"#, topic("ann"));
        let told = stage.told(json!(["1", "3", topic("ann"), event, {}]));
        assert_eq!(told, ["leave ann true".to_owned(), lost], "socket.md 3.3 {event}");
    }
}

#[test]
fn our_own_pushes_are_read_or_refused_with_a_reason() {
    let mut stage = Stage::of(json!({"sub": "ann"}));
    let out = stage.hear(&json!(["1", "1", topic("ann"), "phx_join", {"bellwire": {"since": 41, "page_size": 20}}]));
    assert!(matches!(&out[..], [Out::Join(enter)] if enter.since == Some(41) && enter.view.own.is_some()));
    let many = json!(vec!["m"; MOST_MARKED + 1]);
    for (event, payload, expected) in [
        ("feed.fetch", json!({"since": 41}), "ask Since(Some(41))"),
        ("feed.fetch", json!({"since": null}), "ask Since(None)"),
        ("feed.fetch", json!({"page_size": 500}), "ask Page { view: None, page: Page { size: 50, at: None } }"),
        ("feed.fetch", json!({"view": "all"}), r#"ask Page { view: Some("all"), page: Page { size: 50, at: None } }"#),
        ("feed.fetch", json!({"view": 7}), "`view` is the name of a view"),
        ("feed.fetch", json!({"view": "all", "since": 7}), "leave `view` out"),
        ("feed.fetch", json!({"since": -1}), "since is the version"),
        ("feed.fetch", json!({"after": "x"}), "not a cursor"),
        ("feed.fetch", json!({"page_size": "2"}), "page_size is a whole number"),
        ("feed.mark", json!({"as": "seen", "ids": ["a"]}), r#"ask Mark { mark: Seen, ids: ["a"], metadata: None }"#),
        (
            "feed.mark",
            json!({"as": "unarchived", "all": true, "filter": {"status": "read"}}),
            "ask MarkAll { mark: Unarchived",
        ),
        (
            "feed.mark",
            json!({"as": "unread", "all": true, "marked_at": "1970-01-01T00:00:00.000007Z"}),
            "marked_at: Some(Time(7))",
        ),
        ("feed.mark", json!({"as": "unread", "all": true, "marked_at": null}), "marked_at: None"),
        ("feed.mark", json!({"as": "unread", "all": true, "marked_at": "soon"}), "`marked_at` is what a mark was"),
        ("feed.mark", json!({"as": "unread", "all": true, "marked_at": 7}), "`marked_at` is what a mark was"),
        ("feed.mark", json!({"as": "unread", "ids": ["a"], "marked_at": AT}), "`marked_at` goes with"),
        ("feed.mark", json!({"as": "read", "all": true, "marked_at": AT}), "and read undoes nothing"),
        ("feed.mark", json!({"as": "seen", "all": true, "marked_at": AT}), "and seen undoes nothing"),
        ("feed.mark", json!({"as": "archived", "all": true, "marked_at": AT}), "and archived undoes nothing"),
        ("feed.mark", json!({"as": "interacted", "all": true, "marked_at": AT}), "and interacted undoes nothing"),
        ("feed.mark", json!({"as": "eaten", "ids": ["a"]}), "`as` is one of seen, unseen"),
        ("feed.mark", json!({"as": "seen"}), "name the messages in `ids`"),
        ("feed.mark", json!({"as": "seen", "ids": []}), "from 1 to 500"),
        ("feed.mark", json!({"as": "seen", "ids": many}), "from 1 to 500"),
        ("feed.mark", json!({"as": "seen", "ids": [1]}), "an id is text"),
        ("feed.mark", json!({"as": "interacted", "ids": ["a"], "metadata": {"a": {}}}), "metadata values"),
        ("feed.mark", json!({"as": "seen", "all": true, "filter": {"status": "odd"}}), "status must be one of"),
    ] {
        let told = stage.told(json!(["1", "2", topic("ann"), event, payload]));
        assert!(told.len() == 1 && told[0].contains(expected), "F-STA-18 {event} {payload}: {told:?}");
        let is_refused = !told[0].starts_with("ask");
        assert_eq!(told[0].contains(r#""code":"invalid_params""#), is_refused, "{told:?}");
    }
}

#[test]
fn the_views_of_a_join_are_few_named_and_within_what_the_token_lets_see() {
    let acme = "https://api.knock.app/v1/tenants/acme";
    let limited = json!({"sub": "ann", "grants": {acme: {"feed/read": []}}});
    let enter = |token: Option<&Value>, views: Value| {
        let mut stage = token.map_or_else(Stage::open, |token| Stage::of(token.clone()));
        let options = json!({"tenant": "acme", "has_tenant": true, "views": views});
        stage.told(json!(["1", "1", topic("ann"), "phx_join", {"bellwire": options}])).remove(0)
    };
    let many = |count: usize| (0..count).map(|number| (format!("view_{number}"), json!({}))).collect::<Map<_, _>>();
    for views in
        [json!({}), json!(many(8)), json!({"x": {"status": "unread", "page_size": 0}}), json!({"ö".repeat(32): {}})]
    {
        assert_eq!(enter(None, views.clone()), "join ann as Some(\"1\")", "{views}");
    }
    for (views, reason) in [
        (json!(many(9)), "a join names at most 8 views"),
        (json!({"": {}}), "the name of a view has from 1 to 32 characters"),
        (json!({"ö".repeat(33): {}}), "the name of a view has from 1 to 32 characters"),
        (json!({"a": {"status": "odd"}}), "the view `a`: status: status must be one of"),
        (json!({"a": null}), "Views are an object"),
        (json!(["a"]), "Views are an object"),
    ] {
        let told = enter(None, views.clone());
        assert!(told.contains(r#""status":"error""#) && told.contains(reason), "{views} {told}");
    }
    let twice = format!(r#"["1","1","{}","phx_join",{{"bellwire":{{"views":{{"a":{{}},"a":{{}}}}}}}}]"#, topic("ann"));
    let mut stage = Stage::open();
    let told = stage.session.hear(&twice, &stage.catalog, &stage.plain).into_iter().map(word).collect::<Vec<_>>();
    assert!(told[0].contains("the view `a` is named twice"), "{told:?}");

    let within = json!({"a": {"tenant": "acme", "has_tenant": true}});
    assert_eq!(enter(Some(&limited), within), "join ann as Some(\"1\")", "F-GRN-12");
    for view in [json!({}), json!({"tenant": "other"})] {
        let told = enter(Some(&limited), json!({"a": view}));
        assert!(told.contains(r#""status":"error""#), "F-GRN-12 {view} {told}");
    }
}

#[test]
fn options_are_read_as_every_client_spells_them_and_unknown_ones_ignored() {
    let filter_of = |options: Value| {
        let out = Stage::open().hear(&json!(["1", "1", topic("ann"), "phx_join", {"bellwire": options}]));
        match out.into_iter().next() {
            Some(Out::Join(enter)) => Ok(enter.view.own.map(|own| (*own.filter).clone()).unwrap()),
            Some(other) => Err(word(other)),
            None => panic!("no answer"),
        }
    };
    let read = filter_of(json!({
        "archived": "EXCLUDE", "status": "all", "source": null, "tenant": "", "workflow_categories": ["a"],
        "trigger_data": {"plan": "pro"}, "inserted_at.gte": "2026-01-01T00:00:00Z", "locale": "de",
        "auto_manage_socket_connection": true, "__experimentalCrossBrowserUpdates": true,
    }))
    .unwrap();
    assert_eq!(read.categories, ["a"], "F-SOC-10");
    assert_eq!(Value::from(read.trigger_data.clone()), json!({"plan": "pro"}), "F-SOC-10");
    assert_eq!(read.inserted_at.gte, Time::parse("2026-01-01T00:00:00Z"), "F-SOC-10");
    assert_eq!((read.source, read.tenant), (None, None), "F-SOC-28");
    let range = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "inclusive": true});
    let read = filter_of(json!({"inserted_at_date_range": range})).unwrap();
    let bounds = (read.inserted_at.gt, read.inserted_at.gte.is_some(), read.inserted_at.lte.is_some());
    assert_eq!(bounds, (None, true, true), "F-SOC-28");
    for options in [json!({"status": "odd"}), json!({"page_size": 0}), json!({"since": "x"}), json!({"mode": "x"})] {
        assert!(filter_of(options.clone()).is_err(), "{options}");
    }
}

#[test]
fn what_is_no_frame_closes_the_connection() {
    for text in ["", "[", "{}", "[1,2,3]", r#"["1",2,"t","e",{}]"#, r#"["1","2","t","e",[]]"#, "\u{0}"] {
        let mut stage = Stage::open();
        let out = stage.session.hear(text, &stage.catalog, &stage.plain);
        assert!(matches!(out[..], [Out::Close(1011)]), "F-SOC-03 {text}");
    }
    let mut stage = Stage::open();
    for bytes in [&[][..], &[1, 0, 0, 0], b"\0\0\0\x07\x09phoenixheartbeat[]"] {
        let out = stage.session.hear_binary(bytes, &stage.catalog, &stage.plain);
        assert!(matches!(out[..], [Out::Close(1011)]), "F-SOC-03 {bytes:?}");
    }
    let out = stage.session.hear_binary(b"\0\0\x01\x07\x091phoenixheartbeat{}", &stage.catalog, &stage.plain);
    assert!(matches!(out[..], [Out::Say(_)]), "F-SOC-03");
}
