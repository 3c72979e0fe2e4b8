//! `bellwire health`: the probe of an image that holds nothing else.

use super::{Dir, SAMPLES};

const DEV: [&str; 5] = ["dev", "--port", "0", "--workflows", SAMPLES];

#[test]
fn a_running_server_is_well_and_a_stopped_one_is_not() {
    let dir = Dir::new("health");
    let mut server = dir.start(&DEV);
    let address = server.address.clone();
    let listen = [("BELLWIRE_SERVER_LISTEN", address.as_str())];
    for asked in [&["health"][..], &["health", "--ready"]] {
        let done = dir.run_with(asked, &listen);
        assert_eq!(done.code, Some(0), "{asked:?}: {}{}", done.out, done.err);
    }
    assert_eq!(dir.ask(&["health", &format!("http://{address}/healthz")]), "ok\n");
    server.stop();
    let done = dir.run_with(&["health"], &listen);
    let sentence = format!("http://{address}/healthz can't be reached: ");
    assert_eq!((done.code, done.err.starts_with(&sentence)), (Some(1), true), "{}", done.err);
}

#[test]
fn an_answer_that_refuses_is_told_with_its_status() {
    let dir = Dir::new("unwell");
    let mut server = dir.start(&DEV);
    let url = format!("http://{}/no-such-page", server.address);
    let done = dir.run(&["health", &url]);
    assert_eq!((done.code, done.err.starts_with(&format!("{url} answers 404: "))), (Some(1), true), "{}", done.err);
    server.stop();
}

#[test]
fn an_address_that_cannot_be_asked_is_refused() {
    let dir = Dir::new("unasked");
    for url in ["https://127.0.0.1:4000/readyz", "127.0.0.1:4000", "/readyz"] {
        let done = dir.run(&["health", url]);
        let sentence = format!("`{url}` must be like http://127.0.0.1:4000/readyz.\n");
        assert_eq!((done.code, done.err), (Some(1), sentence), "{url}");
    }
}
