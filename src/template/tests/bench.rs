//! How long a rendering takes: `cargo test --release template::tests::bench -- --ignored --nocapture`.

use std::{hint::black_box, time::Instant};

use serde_json::json;

use crate::{
    model::{scope::Scope, time::Time},
    template::{Env, Template, blocks::FeedTemplate, markdown::to_safe_html},
};

const SOURCE: &str = "\
{% if actor %}**{{ actor.name }}**{% else %}Someone{% endif %} left {{ total_activities }} \
{{ total_activities | pluralize: 'comment', 'comments' }} on {{ data.page_name }}.
{% if total_activities > 3 %}{% assign more = total_activities | minus: 3 %}{% endif %}
{% for activity in activities %}
- {{ activity.inserted_at | date: '%b %d, %H:%M' }} {{ activity.actor.name }}: {{ activity.comment | truncate: 40 }}
{% endfor %}
{% if more %}and {{ more }} more{% endif %}
[Open](https://app.example/pages?q={{ data.page_name | url_encode }}&r={{ recipient.id }}) {{ tenant.name | default: 'us' }} {{ workflow.key }}
";

#[allow(clippy::disallowed_macros, reason = "a measurement is read on the terminal")]
fn micros(name: &str, rounds: u32, mut work: impl FnMut()) -> f64 {
    (0..rounds / 10).for_each(|_| work());
    let start = Instant::now();
    (0..rounds).for_each(|_| work());
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
    println!("{name}: {micros:.2} µs");
    micros
}

#[test]
#[allow(clippy::disallowed_macros, reason = "a measurement is read on the terminal")]
#[ignore = "a measurement: run it in release"]
fn a_realistic_template_renders_in_ten_microseconds() {
    let recipient = json!({"id": "u-1", "name": "Grace"});
    let actor = json!({"id": "u-2", "name": "Ada"});
    let data = json!({"page_name": "Road map & plans", "page_id": "p-1"});
    let activity = json!({"inserted_at": "2026-01-05T10:20:30.000000Z", "actor": actor,
        "comment": "This is a comment which is rather longer than what we want to show"});
    let activities = json!([activity, activity, activity]);
    let (total, workflow) = (json!(7), json!({"key": "comments"}));
    let scope = Scope::new(vec![
        ("activities", &activities),
        ("actor", &actor),
        ("data", &data),
        ("recipient", &recipient),
        ("total_activities", &total),
        ("workflow", &workflow),
    ]);
    let env = Env::new(&scope, Time::default());
    let template = Template::parse(SOURCE).unwrap();
    println!("{}", template.render(&env).unwrap());
    micros("parse", 20_000, || drop(black_box(Template::parse(black_box(SOURCE)))));
    let mut out = String::new();
    let taken = micros("render", 100_000, || {
        out.clear();
        template.render_into(black_box(&env), &mut out).unwrap();
    });
    let feed = FeedTemplate::parse(
        &json!({"markdown_body": SOURCE, "action_url": "https://app.example/{{ data.page_id }}"}),
        "",
    )
    .unwrap();
    micros("feed blocks", 50_000, || drop(black_box(feed.render(black_box(&env), None))));
    micros("markdown, plain", 100_000, || {
        drop(black_box(to_safe_html(black_box("Ada left a comment on your page, have a look"))))
    });
    micros("markdown, bold", 100_000, || {
        drop(black_box(to_safe_html(black_box("**Ada** left a comment on your page"))))
    });
    micros("markdown, html", 2_000, || {
        drop(black_box(to_safe_html(black_box("<b>Ada</b> left a comment on your page"))))
    });
    assert!(cfg!(debug_assertions) || taken < 10.0, "{taken} µs");
}
