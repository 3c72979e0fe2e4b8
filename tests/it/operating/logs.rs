//! Logs for machines: one object per line, with the ids of whatever it is about.

use hyper::Method;
use serde_json::{Value, json};

use crate::process::{CHANNEL, Process, get};

#[tokio::test]
async fn what_goes_wrong_is_told_with_the_ids_of_its_request_and_its_run() {
    let mut server = Process::laid_out("[log]\nformat = \"json\"\n");
    server.run();
    let body = json!({"recipients": [{"id": "ann@example.com"}], "data": {"name": "one"}});
    let reply = server.call(Method::POST, "/v1/workflows/later/trigger", body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    let database = server.database();
    let run: String = database.query_row("SELECT id FROM runs", [], |row| row.get(0)).unwrap();
    database.execute_batch("UPDATE runs SET state = '{'; ALTER TABLE users RENAME TO elsewhere;").unwrap();

    let headers = format!("host: x\r\nauthorization: Bearer {}\r\n", server.secret);
    let (head, _) = get(server.address, "/v1/users/ann@example.com", &headers).await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
    let line = server.said("that the request failed", |line| line.contains(id)).await;
    let said: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&said["level"], &said["request.id"], &said["operation"]),
        (&json!("ERROR"), &json!(id), &json!("getUser"))
    );
    assert!(said["timestamp"].is_string() && said["message"].is_string() && said["error"].is_string(), "{said}");

    let line = server.said("that the run's job failed", |line| line.contains("will be tried again")).await;
    let said: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&said["level"], &said["job.kind"], &said["subject"]), (&json!("WARN"), &json!("run"), &json!(run)));
    assert_eq!(said["spans"][0]["subject"], json!(run), "what is said deeper down bears it too: {said}");

    let log = server.whole_log();
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "one object a line: {line}");
        assert!(!line.contains("ann@example.com"), "nobody's address: {line}");
    }
}

#[tokio::test]
async fn what_feeds_hold_stands_in_no_log_however_much_is_logged() {
    let server = Process::start("[log]\nlevel = \"trace\"\n");
    let body = json!({"recipients": [{"id": "ann"}], "data": {"name": "xylophone"}});
    let reply = server.call(Method::POST, "/v1/workflows/note/trigger", body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    for path in [format!("/v1/users/ann/feeds/{CHANNEL}"), "/v1/users/ann/messages".to_owned()] {
        let reply = server.call(Method::GET, &path, Value::Null).await.expect("an answer");
        assert!(reply.status == 200 && reply.body.to_string().contains("xylophone"), "{reply:?}");
    }
    for operation in ["listUserInAppFeedItems", "listMessagesForUser"] {
        server.said("that the request was answered", |line| line.contains(operation)).await;
    }
    assert!(!server.whole_log().contains("xylophone"), "F-FED-43: {}", server.whole_log());
}
