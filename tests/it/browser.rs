//! What is shown in browsers, in a real one: scripts in `browser/`, run by Node, which drive Chromium.
//!
//! Pictures of each state are kept in `target/screenshots`.

use std::path::Path;

use serde_json::json;

use crate::process::{CHANNEL, Process};
use crate::sdk::{run_at, run_with};

#[test]
fn the_hosted_pages_have_no_barriers() {
    let mut server = Process::laid_out(&format!(
        r##"
[environments.development.vars]
app_name = "Acme"
branding = {{ logo_url = "https://acme.example/logo.svg", primary_color = "#0B5FFF", primary_color_contrast = "#FFFFFF", dark = {{ logo_url = "https://acme.example/night.svg", primary_color = "#9DB8FF", primary_color_contrast = "#0B1020" }} }}

[environments.development.preference_center]
enabled = true
rows = [
    {{ type = "category", identifier = "news", name = "News", description = "What is new, once a month" }},
    {{ type = "workflow", identifier = "invoice", name = "Invoices", description = "When one is due", channel_types = ["email", "sms"] }},
    {{ type = "channel", identifier = "{CHANNEL}", name = "The bell", description = "In the corner of every page" }},
    {{ type = "channel_types", name = "Ways to reach you", description = "For all that we tell", channel_types = ["email", "sms", "push", "chat"] }},
    {{ type = "commercial_subscribed", name = "Offers", description = "Now and then, and never more than twice a year, unless it is a leap year" }},
]
"##
    ));
    let offer = server.directory().join("workflows/offer");
    std::fs::create_dir_all(&offer).unwrap();
    let body = "[No more offers]({{ vars.commercial_unsubscribe_url }})";
    let step = json!({"type": "channel", "ref": "in_app_feed_1", "channel_key": "in-app-feed",
        "template": {"markdown_body": body, "action_url": "/offer"}});
    let workflow = json!({"name": "Offer", "settings": {"is_commercial": true}, "steps": [step]});
    std::fs::write(offer.join("workflow.json"), workflow.to_string()).unwrap();
    server.run();
    run("pages.test.mjs", &server);
}

#[test]
fn the_bell_shows_and_marks_a_feed_on_any_page() {
    let mut server = Process::laid_out("");
    let step = |n: usize| {
        json!({"type": "channel", "ref": format!("in_app_feed_{n}"), "channel_key": "in-app-feed",
            "template": {"markdown_body": format!("Line **{n}** of {{{{ data.name }}}}"), "action_url": ""}})
    };
    let buttons = json!([{"type": "channel", "ref": "in_app_feed_1", "channel_key": "in-app-feed", "template": {
        "markdown_body": "{{ data.name }}",
        "action_buttons": [{"label": "Accept", "action": "#accept"}, {"label": "Decline", "action": "#decline"}]}}]);
    for (key, steps) in [("flood", (1..=10).map(step).collect()), ("ask", buttons)] {
        let home = server.directory().join("workflows").join(key);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("workflow.json"), json!({"name": key, "steps": steps}).to_string()).unwrap();
    }
    server.run();
    run("bell.test.mjs", &server);
}

#[test]
fn the_bell_and_the_official_one_for_react_are_in_step() {
    run("react.test.mjs", &Process::start(""));
}

#[test]
fn the_reference_has_no_barriers() {
    run("reference.test.mjs", &Process::start(""));
}

/// Runs a script of scenarios; when one fails, this does, with what the script said.
fn run(script: &str, server: &Process) {
    run_with(&format!("../browser/{script}"), server, &[("SDK_TEST_SCREENSHOTS", &screenshots())]);
}

/// Runs what a newcomer sees: the page of `bellwire dev` at this URL. `log` has what the script says.
pub fn show_demo(url: &str, log: &Path) {
    run_at("../browser/demo.test.mjs", &json!({"url": url}), log, &[("SDK_TEST_SCREENSHOTS", &screenshots())]);
}

fn screenshots() -> String {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in a directory").join("screenshots");
    built.to_str().expect("the path is text").to_owned()
}
