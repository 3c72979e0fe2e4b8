//! What templates and conditions can name.

use bellwire::model::environment::Settings;
use bellwire::model::recipient::RecipientRef;
use bellwire::verbs::subscribe::Request;
use serde_json::{Map, Value, json};

use crate::world::{World, document, tell};

async fn said(template: &str, body: Value) -> String {
    let vars: Map<String, Value> = json!({"app": "Bell", "flag": true}).as_object().unwrap().clone();
    let all_vars = json!({"app": "Bell", "flag": true, "token": "hush"});
    let settings = Settings { vars, all_vars, ..Settings::default() };
    let mut workflow = document(json!([tell("hello", template)]));
    workflow["categories"] = json!(["news", "pets"]);
    let world = World::with_settings(&[("greet", workflow)], settings).await;
    world.trigger("greet", body).await.unwrap();
    let told = world.told("u").await;
    told[0].trim_start_matches("<p>").trim_end_matches("</p>").to_owned()
}

#[tokio::test]
async fn templates_see_the_whole_scope() {
    let body = || {
        json!({"recipients": [{"id": "u", "name": "Una", "plan": "pro"}], "actor": {"id": "b", "name": "Bo"},
            "tenant": {"id": "acme", "name": "Acme"}, "data": {"page": "P", "recipient": "shadowed", "deep": {"x": [1, 2]}},
            "cancellation_key": "ck"})
    };
    for (template, expected, rule) in [
        ("{{ data.page }} {{ page }}", "P P", "W-SCP-05"),
        ("{{ recipient.name }}", "Una", "W-SCP-05: reserved names win"),
        ("{{ recipient.__typename }} {{ recipient.id }} {{ recipient.plan }}", "User u pro", "W-SCP-06"),
        ("{{ actor.name }}", "Bo", "W-SCP-06"),
        ("{{ tenant.id }} {{ tenant.name }}", "acme Acme", "W-SCP-17"),
        ("{{ vars.app }} {{ vars.token }}", "Bell hush", "W-SCP-18, W-SCP-22"),
        ("{% if vars.flag == true %}yes{% endif %}", "yes", "W-SCP-19, W-SCP-20"),
        (
            "{{ workflow.key }} {{ workflow.categories | join: '+' }} {{ workflow.commercial }}",
            "greet news+pets false",
            "W-SCP-15",
        ),
        ("{{ workflow.cancellation_key }}", "ck", "W-SCP-16"),
        (
            "{{ total_activities }} {{ total_actors }} {{ activities.size }} {{ actors[0].name }}",
            "1 1 1 Bo",
            "W-SCP-11, W-SCP-03",
        ),
        (
            "{{ activities[0].page }} {{ activities[0].data.page }} {{ activities[0].actor.name }}",
            "P P Bo",
            "W-SCP-09, W-SCP-10",
        ),
        ("{{ timestamp | date: '%Y-%m-%d' }}", "2026-09-21", "W-SCP-13"),
        ("{{ current_message.id | size }}", "27", "W-SCP-14"),
        ("{{ data.deep.x[1] }}{{ data.absent.thing }}", "2", "W-SCP-27"),
    ] {
        assert_eq!(said(template, body()).await, expected, "{rule}");
    }
}

#[tokio::test]
async fn templates_see_what_a_user_follows() {
    let template = "{% assign all = recipient.id | subscriptions %}{{ all.size }}:\
        {% for one in all %} {{ one.object.name }} {{ one.properties.role }}{% endfor %}\
        /{{ 'nobody' | subscriptions | size }}{{ '#teams#t00' | subscriptions | size }}";
    let workflows = [("greet", document(json!([tell("hello", template)]))), ("empty", document(json!([])))];
    let world = World::new(&workflows).await;
    let team = |n: i32| RecipientRef::Object { collection: "teams".to_owned(), id: format!("t{n:02}") };
    let teams: Vec<Value> =
        (0..30).map(|n| json!({"collection": "teams", "id": format!("t{n:02}"), "name": format!("T{n}")})).collect();
    world.trigger("empty", json!({"recipients": teams})).await.unwrap();
    let request = |role: &str| {
        let body =
            json!({"recipients": [{"id": "u"}, {"collection": "teams", "id": "t00"}], "properties": {"role": role}});
        Request::parse(body.as_object().unwrap()).unwrap()
    };
    for n in 1..30 {
        let role = if n == 2 { "lead" } else { "member" };
        world.core.subscribe(world.env, &team(n), &request(role)).await.unwrap();
    }
    world.core.unsubscribe(world.env, &team(1), &request("member")).await.unwrap();
    world.trigger("greet", json!({"recipients": ["u"]})).await.unwrap();
    let others: String = (3..27).map(|n| format!(" T{n} member")).collect();
    let expected = format!("<p>25: T2 lead{others}/00</p>");
    assert_eq!(world.told("u").await, [expected], "F-SUB-14 D-TPL-19 D-AMB-22: the oldest");
}

#[tokio::test]
async fn without_an_actor_there_is_none() {
    let body = json!({"recipients": [{"id": "u"}]});
    let template = "{{ total_actors }}{% if actor %}actor{% else %}nobody{% endif %}{{ actor.name }}";
    assert_eq!(said(template, body).await, "0nobody", "W-SCP-01, W-SCP-11");
}

#[tokio::test]
async fn an_object_variable_is_reached_into_and_can_be_a_window() {
    let window = json!({"unit": "minutes", "value": 5});
    let all_vars = json!({"support": {"email": "help@app.example"}, "pause": window});
    let delay = json!({"type": "delay", "ref": "pause", "settings": {"delay_until_field_path": "vars.pause"}});
    let steps = json!([delay, tell("hello", "{{ vars.support.email | upcase }}")]);
    let settings = Settings { all_vars, ..Settings::default() };
    let world = World::with_settings(&[("greet", document(steps))], settings).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    world.pass(299).await;
    assert!(world.told("u").await.is_empty(), "W-SCP-21, W-DUR-04");
    world.pass(1).await;
    assert_eq!(world.told("u").await, ["<p>HELP@APP.EXAMPLE</p>"], "W-SCP-21");
}

#[tokio::test]
async fn conditions_see_the_whole_scope_and_nothing_else() {
    let body = json!({"recipients": [{"id": "u", "plan": "pro"}], "actor": {"id": "b", "name": "Bo"},
        "tenant": {"id": "acme", "name": "Acme"}, "data": {"n": 1}, "cancellation_key": "ck"});
    let all_vars = json!({"app": "Bell", "flag": true});
    for (variable, value) in [
        ("data.n", json!(1)),
        ("recipient.plan", json!("pro")),
        ("actor.name", json!("Bo")),
        ("tenant.name", json!("Acme")),
        ("vars.app", json!("Bell")),
        ("vars.flag", json!(true)),
        ("workflow.key", json!("greet")),
        ("workflow.cancellation_key", json!("ck")),
        ("run.total_activities", json!(1)),
        ("run.total_actors", json!(1)),
        ("refs.first.delivery_status", json!("$message.delivered")),
    ] {
        let told = |step: &str, operator: &str| {
            let mut told = tell(step, step);
            told["conditions"] = json!({"all": [{"variable": variable, "operator": operator, "argument": value}]});
            told
        };
        let steps = json!([tell("first", "first"), told("is", "equal_to"), told("isnt", "not_equal_to")]);
        let settings = Settings { all_vars: all_vars.clone(), ..Settings::default() };
        let world = World::with_settings(&[("greet", document(steps))], settings).await;
        world.trigger("greet", body.clone()).await.unwrap();
        assert_eq!(world.told("u").await, ["<p>first</p>", "<p>is</p>"], "W-SCP-02: {variable}");
    }
    for variable in ["event.data.x", "n", "inputs.x", "timestamp"] {
        let mut step = tell("first", "first");
        step["conditions"] = json!({"all": [{"variable": variable, "operator": "exists"}]});
        let parsed = bellwire::model::workflow::Workflow::parse("greet", &document(json!([step])), &[]);
        assert!(parsed.is_err(), "W-SCP-02: `{variable}` is not in it");
    }
}

#[tokio::test]
async fn a_recipients_own_data_is_its_data_in_templates_and_in_conditions() {
    let mut step = tell("hello", "{{ data.n }} {{ n }} {{ data.all }}");
    step["conditions"] = json!({"all": [{"variable": "data.n", "operator": "equal_to", "argument": "2"}]});
    let world = World::new(&[("greet", document(json!([step])))]).await;
    let recipients = json!([{"id": "u", "$trigger_data": {"n": 2}}, {"id": "v"}]);
    world.trigger("greet", json!({"recipients": recipients, "data": {"n": 1, "all": "of us"}})).await.unwrap();
    assert_eq!(world.told("u").await, ["<p>2 2 of us</p>"], "W-SCP-04, W-TRG-16");
    assert!(world.told("v").await.is_empty(), "W-SCP-04");
}
