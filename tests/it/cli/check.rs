//! `bellwire check`, and what every command says of a wrong configuration.

use super::{Dir, SAMPLES};

const WELL: &str = "All is well: 1 environment, 1 channel and 4 workflows in ";

#[test]
fn the_samples_are_well() {
    let dir = Dir::new("well");
    assert!(dir.ask(&["check", "--workflows", SAMPLES]).starts_with(WELL));
}

#[test]
fn the_documented_configuration_is_well() {
    let dir = Dir::new("documented");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bellwire.toml");
    assert!(dir.ask(&["check", "--config", file, "--workflows", SAMPLES]).starts_with(WELL));
}

#[test]
fn every_problem_is_told_with_its_file_and_path() {
    let dir = Dir::new("problems");
    dir.write("w/one/workflow.json", r#"{"name": "One", "steps": [{"type": "delay", "ref": "d"}]}"#);
    dir.write("w/two/workflow.json", r#"{"name": "Two", "steps": [{"type": "channnel", "ref": "c"}]}"#);
    dir.write("w/three/workflow.json", "{");
    let done = dir.run(&["check", "--workflows", "w"]);
    assert_eq!(done.code, Some(1));
    for start in
        ["w/one/workflow.json: steps[0]", "w/two/workflow.json: steps[0].type: ", "w/three/workflow.json: is no JSON"]
    {
        assert!(done.out.lines().any(|line| line.starts_with(start)), "{start} / {}", done.out);
    }
    assert!(done.out.ends_with("3 problems to solve.\n"), "{}", done.out);
}

#[test]
fn a_misspelt_key_is_told_with_the_nearest_one_by_every_command() {
    let dir = Dir::new("misspelt");
    dir.write("b.toml", "[server]\nlisen = \"127.0.0.1:0\"\n");
    let sentence = "b.toml: server.lisen: there is no key `lisen`; did you mean `listen`?\n";
    let done = dir.run(&["check", "--config", "b.toml"]);
    assert_eq!((done.code, done.out.starts_with(sentence)), (Some(1), true), "{}", done.out);
    for command in
        [&["serve"][..], &["dev"], &["keys", "list"], &["token", "sign", "--user", "ann"], &["backup", "b.db"]]
    {
        let done = dir.run(&[command, &["--config", "b.toml"]].concat());
        assert_eq!((done.code, done.err.as_str()), (Some(1), sentence), "{command:?}");
    }
}

#[test]
fn variables_of_the_environment_count_and_are_checked() {
    let dir = Dir::new("variables");
    let done = dir.run_with(&["check"], &[("BELLWIRE_WORKFLOWS_DIR", SAMPLES)]);
    assert_eq!((done.code, done.out.starts_with(WELL)), (Some(0), true), "{}", done.out);
    let done = dir.run_with(&["check"], &[("BELLWIRE_SERVER_LISTNE", "x")]);
    let sentence = "no setting is called `BELLWIRE_SERVER_LISTNE`; did you mean `BELLWIRE_SERVER_LISTEN`?";
    assert_eq!((done.code, done.out.contains(sentence)), (Some(1), true), "{}", done.out);
}

#[test]
fn channels_may_stand_in_a_file_of_their_own() {
    let dir = Dir::new("channels");
    let channel =
        "[[channels]]\nid = \"5f3c1d6e-0000-4000-8000-000000000001\"\nkey = \"bell\"\ntype = \"in_app_feed\"\n";
    dir.write("channels.toml", channel);
    let step = r#"{"type": "channel", "ref": "bell", "channel_key": "bell", "template": {"markdown_body": "Hello"}}"#;
    dir.write("w/hello/workflow.json", &format!(r#"{{"name": "Hello", "steps": [{step}]}}"#));
    let said = dir.ask(&["check", "--workflows", "w", "--channels", "channels.toml"]);
    assert!(said.starts_with("All is well: 1 environment, 1 channel and 1 workflow in w."), "{said}");
    dir.write("channels.toml", &channel.replace("in_app_feed", "in_app_fed"));
    let done = dir.run(&["check", "--workflows", "w", "--channels", "channels.toml"]);
    assert!(done.out.starts_with("channels.toml: channels[0].type: `in_app_fed` is not a kind"), "{}", done.out);
}

#[test]
fn a_step_on_a_channel_that_nobody_declared_is_a_problem() {
    let dir = Dir::new("undeclared");
    let step = |channel| {
        format!(
            r#"{{"type": "channel", "ref": "{channel}_1", "channel_key": "{channel}", "channel_type": "in_app_feed",
                "template": {{"markdown_body": "Hello"}}}}"#
        )
    };
    let branch = |step: String| {
        format!(
            r#"{{"type": "branch", "ref": "b", "branches": [
                {{"name": "One", "conditions": {{"all": [{{"variable": "data.x", "operator": "exists"}}]}}, "steps": [{step}]}},
                {{"name": "Default", "steps": []}}]}}"#
        )
    };
    let steps = format!("[{}, {}]", step("in-app-feed"), branch(step("in-app-fed")));
    dir.write("w/hello/workflow.json", &format!(r#"{{"name": "Hello", "steps": {steps}}}"#));
    let done = dir.run(&["check", "--workflows", "w"]);
    let sentence = "w/hello/workflow.json: steps[1].branches[0].steps[0].channel_key: no channel `in-app-fed` is declared \
                    (did you mean `in-app-feed`?): add it to [[channels]]; the step is skipped\n";
    assert_eq!((done.code, done.out.starts_with(sentence)), (Some(1), true), "{}", done.out);
}

#[test]
fn caps_are_looked_at_too() {
    let dir = Dir::new("caps");
    dir.write("p/workflows/hello/workflow.json", r#"{"name": "Hello", "steps": []}"#);
    dir.write("p/caps/calm.json", r#"{"name": "Calm", "limit": 5, "per": "day", "channels": ["in-app-feed"]}"#);
    let well = "All is well: 1 environment, 1 channel, 1 cap and 1 workflow in p/workflows.\n";
    assert_eq!(dir.ask(&["check", "--workflows", "p/workflows"]), well);
    dir.write("p/caps/calm.json", r#"{"name": "Calm", "limit": 5, "per": "day", "channels": ["in-app-fed"]}"#);
    let done = dir.run(&["check", "--workflows", "p/workflows"]);
    let said = "p/caps/calm.json: channels[0]: there is no channel `in-app-fed` (did you mean `in-app-feed`?)\n1 problem to solve.\n";
    assert_eq!((done.code, done.out.as_str()), (Some(1), said));
}

#[test]
fn audiences_and_sources_are_looked_at_too() {
    let dir = Dir::new("audiences");
    dir.write("p/workflows/hello/workflow.json", r#"{"name": "Hello", "steps": []}"#);
    dir.write("p/audiences/vip/audience.json", r#"{"name": "VIP", "type": "static"}"#);
    dir.write("p/triggers.json", r#"{"hello": {"audience": "vip"}}"#);
    dir.write("p/sources/shop.json", "{}");
    let well = "All is well: 1 environment, 1 channel, 1 audience, 1 source and 1 workflow in p/workflows.\n";
    let note = "Note: source `shop` has no secret in environment `development`; its events are refused there, until \
                `source_secrets` has one.\n";
    assert_eq!(dir.ask(&["check", "--workflows", "p/workflows"]), format!("{note}{well}"));
    let secret = [("BELLWIRE_ENVIRONMENTS_DEVELOPMENT_SOURCE_SECRETS_SHOP", "0123456789abcdef")];
    assert_eq!(dir.run_with(&["check", "--workflows", "p/workflows"], &secret).out, well);
    let short = [("BELLWIRE_ENVIRONMENTS_DEVELOPMENT_SOURCE_SECRETS_SHOP", "guess me")];
    let done = dir.run_with(&["check", "--workflows", "p/workflows"], &short);
    assert_eq!(done.code, Some(1));
    assert!(done.out.contains("the secret of `shop` must have at least 16 characters"), "{}", done.out);
    assert!(!done.out.contains("guess me"), "{}", done.out);
    dir.write("p/triggers.json", r#"{"hello": {"audience": "vpi"}}"#);
    dir.write("p/sources/shop.json", r#"{"mappings": [{"event": "e", "action": "users_delete"}]}"#);
    let done = dir.run(&["check", "--workflows", "p/workflows"]);
    let said = "p/sources/shop.json: mappings[0].id: is required: a path such as body.id, or {\"value\": ..}\n1 problem to solve.\n";
    assert_eq!((done.code, done.out.as_str()), (Some(1), said));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let dir = Dir::new("absent");
    let done = dir.run(&["serve", "--config", "no.toml"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.starts_with("no.toml: can't be read: "), "{}", done.err);
}
