//! `bellwire keys` and `bellwire token`.

use serde_json::Value;

use super::{Dir, Done};

fn refused(done: &Done, sentence: &str) {
    assert_eq!(done.code, Some(1), "{}", done.out);
    assert!(done.err.contains(sentence), "{}", done.err);
}

/// The claims of a JWT.
fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.trim().split('.').nth(1).expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_key_is_shown_once_and_listed_by_its_hint_until_it_is_revoked() {
    let dir = Dir::new("keys");
    let key = dir.ask(&["keys", "create", "--kind", "secret", "--name", "backend"]);
    let key = key.trim();
    assert!(key.starts_with("sk_") && key.len() == 46, "F-AUT-02: {key}");
    let list = dir.ask(&["keys", "list"]);
    assert!(list.contains(&key[..10]) && list.contains("backend") && !list.contains(key), "{list}");
    dir.ask(&["keys", "create", "--kind", "public", "--json"]);

    let said = dir.ask(&["keys", "revoke", &key[..10]]);
    assert!(said.starts_with(&format!("Revoked the secret key {} of development.", &key[..10])), "{said}");
    let list = dir.ask_json(&["keys", "list", "--json"]);
    let revoked: Vec<bool> = list.as_array().into_iter().flatten().map(|key| key["revoked_at"].is_string()).collect();
    assert_eq!(revoked, [true, false], "{list}");
    refused(&dir.run(&["keys", "revoke", &key[..10]]), "is revoked already");
    refused(&dir.run(&["keys", "revoke", "sk_unknown"]), "There is no key `sk_unknown`");
    let digest = list[1]["digest"].as_str().expect("a digest");
    dir.ask(&["keys", "revoke", &digest[..8]]);
}

#[test]
fn commands_say_what_is_missing() {
    let dir = Dir::new("missing");
    refused(&dir.run(&["keys", "list"]), "There is no database bellwire-data/bellwire.db yet: start the server once");
    refused(
        &dir.run(&["keys", "create", "--kind", "secret", "--env", "production"]),
        "Add `[environments.production]`",
    );
    dir.ask(&["keys", "create", "--kind", "secret"]);
    refused(
        &dir.run(&["token", "sign", "--user", "ann"]),
        "make one with `bellwire keys create --kind signing --alg hs256",
    );
    refused(
        &dir.run(&["token", "sign", "--user", "ann", "--alg", "rs256"]),
        "name the file of yours with `--private-key`",
    );
    refused(&dir.run(&["token", "sign", "--user", "ann", "--secret", "abc"]), "base64url of at least 32 bytes");
    refused(&dir.run(&["token", "sign", "--user", "ann", "--expires", "soon", "--secret", "abc"]), "--expires: `soon`");
}

#[test]
fn a_secret_key_is_limited_to_what_there_is_and_listed_as_limited() {
    let dir = Dir::new("scopes");
    let create = |kind: &'static str, limits: &[&'static str]| {
        let words = [&["keys", "create", "--kind", kind], limits].concat();
        dir.run(&words)
    };
    refused(&create("secret", &["--operations", "triggerWorkflow,tellAll"]), "There is no operation `tellAll`");
    refused(&create("public", &["--operations", "read"]), "Only secret keys can be limited");
    refused(&create("secret", &["--tenants", "north,"]), "`--tenants`: ");
    dir.ask(&["keys", "create", "--kind", "secret", "--operations", "triggerWorkflow,read", "--tenants", "north"]);
    let list = dir.ask_json(&["keys", "list", "--json"]);
    let scope = serde_json::json!({"operations": ["triggerWorkflow", "read"], "tenants": ["north"]});
    assert_eq!(list[0]["scope"], scope, "{list}");
    assert!(dir.ask(&["keys", "list"]).contains("secret, limited"));
}

#[test]
fn tokens_are_signed_with_the_environments_key_or_a_given_one() {
    let dir = Dir::new("token");
    let key = dir.ask_json(&["keys", "create", "--kind", "signing", "--json"]);
    let token = dir.ask(&["token", "sign", "--user", "ann", "--expires", "15m"]);
    let told = claims(&token);
    assert_eq!(told["sub"], "ann");
    assert_eq!(told["exp"].as_i64().zip(told["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(900));
    let secret = key["secret"].as_str().expect("a secret");
    let kid = key["kid"].as_str().expect("a kid");
    let other = dir.ask(&["token", "sign", "--user", "ann", "--expires", "15m", "--secret", secret, "--kid", kid]);
    let head = |token: &str| token.split('.').next().map(str::to_owned);
    assert_eq!(head(&token), head(&other));

    dir.ask(&["keys", "revoke", kid]);
    assert_eq!(dir.run(&["token", "sign", "--user", "ann"]).code, Some(1), "a revoked key signs no more");
}

#[test]
fn an_rsa_key_is_shown_whole_and_only_its_public_half_is_kept() {
    let dir = Dir::new("rsa");
    let key = dir.ask_json(&["keys", "create", "--kind", "signing", "--alg", "rs256", "--json"]);
    let pem = key["private_key"].as_str().expect("a PEM");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "F-AUT-14");
    assert!(key["private_key_base64"].as_str().is_some_and(|text| text.starts_with("LS0tLS1CRUdJTi")), "F-AUT-14");
    dir.write("key.pem", pem);
    let token = dir.ask(&["token", "sign", "--user", "ann", "--alg", "rs256", "--private-key", "key.pem"]);
    assert_eq!(claims(&token)["sub"], "ann");
    let database = std::fs::read(dir.path("bellwire-data/bellwire.db")).expect("a file");
    let wal = std::fs::read(dir.path("bellwire-data/bellwire.db-wal")).unwrap_or_default();
    let kept = String::from_utf8_lossy(&[database, wal].concat()).into_owned();
    assert!(kept.contains("BEGIN PUBLIC KEY") && !kept.contains("PRIVATE KEY"), "F-AUT-14");
}

#[test]
fn what_signs_links_of_pages_is_listed_and_can_be_revoked_while_the_server_runs() {
    let dir = Dir::new("pages");
    dir.write("b.toml", "[server]\nlisten = \"127.0.0.1:0\"\n[workflows]\ndir = \".\"\n");
    let key = dir.ask(&["keys", "create", "--kind", "secret", "--config", "b.toml"]);
    let authorization = format!("Bearer {}", key.trim());
    let mut server = dir.start(&["serve", "--config", "b.toml"]);
    let headers = [("authorization", authorization.as_str())];
    server.request("PUT", "/v1/users/ann", &headers, "{}");
    let (status, signed) = server.request("POST", "/v1/users/ann/preference_center/signed_url", &headers, "");
    assert_eq!(status, 200, "{signed}");
    let signed: Value = serde_json::from_str(&signed).expect("JSON");
    let path = format!("/p/{}", signed["token"].as_str().expect("a token"));
    assert_eq!(server.get(&path).0, 200, "F-PCC-05");
    let list = dir.ask_json(&["keys", "list", "--config", "b.toml", "--json"]);
    let page = list.as_array().into_iter().flatten().find(|key| key["kind"] == "page").expect("a key of pages");
    assert_eq!(page["environment"], "development");
    let kid = page["hint"].as_str().expect("a name");
    let said = dir.ask(&["keys", "revoke", kid, "--config", "b.toml"]);
    assert!(said.starts_with(&format!("Revoked the page key {kid} of development.")), "{said}");
    assert_eq!(server.get(&path).0, 404, "at once");
    server.stop();
}
