//! Census and Hightouch, which keep static audiences as a warehouse has them (F-INT-01, F-INT-02).
//!
//! Both speak JSON-RPC: each names its methods as its own documentation of custom destinations has them, and is told record
//! by record what was not done.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, Verb};
use crate::model::audience::Audience;
use crate::model::invalid::Invalid;
use crate::model::recipient::{tenant_id_fault, user_id_fault};
use crate::verbs;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(
        Verb::Post,
        "/v1/integrations/census/custom-destination",
        "processCensusRpcRequest",
        Tier::Three,
        |cx| Box::pin(census(cx)),
    ),
    Route::new(
        Verb::Post,
        "/v1/integrations/hightouch/embedded-destination",
        "processHightouchRpcRequest",
        Tier::Three,
        |cx| Box::pin(hightouch(cx)),
    ),
];

/// What there is to sync to.
const OBJECT: &str = "audience";
/// Records that are asked for at once.
const BATCH: u32 = 500;

/// What a call asks for.
struct Call {
    id: Value,
    method: String,
    params: Map<String, Value>,
}

/// Why a call is not answered with a result, in JSON-RPC's numbers.
enum Fault {
    /// There is no such method (F-AMB-53).
    Method(String),
    /// Its parameters make no sense.
    Params(String),
}

type Outcome = Result<Value, Fault>;

impl Call {
    fn read(cx: &Cx) -> Result<Call, ApiError> {
        let mut members = cx.members()?;
        let mut faults = Vec::new();
        if members.get("jsonrpc").and_then(Value::as_str).is_none() {
            faults.push(Invalid::new("jsonrpc", "is required: \"2.0\""));
        }
        let id = members.remove("id").filter(|id| id.is_string() || id.is_number());
        if id.is_none() {
            faults.push(Invalid::new("id", "is required: what tells this call from others"));
        }
        let method = members.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        if method.is_empty() {
            faults.push(Invalid::new("method", "is required, as a text"));
        }
        let params = match members.remove("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => {
                faults.push(Invalid::new("params", "must be an object"));
                Map::new()
            }
        };
        if faults.is_empty() { Ok(Call { id: id.unwrap_or_default(), method, params }) } else { Err(faults.into()) }
    }

    /// The call's answer; whatever came of it, the exchange itself went well.
    fn answer(self, outcome: Outcome) -> Answer {
        let (name, value) = match outcome {
            Ok(result) => ("result", result),
            Err(Fault::Method(message)) => ("error", json!({"code": -32601, "message": message})),
            Err(Fault::Params(message)) => ("error", json!({"code": -32602, "message": message})),
        };
        Answer::json(&json!({"jsonrpc": "2.0", "id": self.id, name: value}))
    }

    fn unknown(&self) -> Fault {
        Fault::Method(format!("method not found: `{}`", self.method))
    }
}

/// A record, by its place among those that were sent.
struct Member {
    at: usize,
    user: String,
    tenant: Option<String>,
}

/// What is to become of members.
#[derive(Clone, Copy)]
enum Deed {
    /// They are added; where there is no such audience, it is made if this says so.
    Add {
        makes: bool,
    },
    Remove,
}

/// A text, also of a number: warehouses have ids of both kinds.
fn plain(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn user(value: Option<&Value>) -> Result<String, String> {
    let user = plain(value).ok_or("there is no user id")?;
    user_id_fault(&user).map_or(Ok(user), |fault| Err(format!("the user id {fault}")))
}

fn tenant(value: Option<&Value>) -> Result<Option<String>, String> {
    let tenant = plain(value);
    match tenant.as_deref().and_then(tenant_id_fault) {
        Some(fault) => Err(format!("the tenant {fault}")),
        None => Ok(tenant),
    }
}

/// Does it; why not, where the audience is not one whose members can be written.
async fn apply(cx: &Cx, audience: &str, members: &[Member], deed: Deed) -> Result<Result<(), String>, ApiError> {
    let named = members.iter().map(|member| json!({"user": {"id": member.user}, "tenant": member.tenant}));
    let body = json!({"members": named.collect::<Value>()});
    let done = match deed {
        Deed::Add { makes } => cx.core().add_members(cx.env(), audience, &body, makes).await,
        Deed::Remove => cx.core().remove_members(cx.env(), audience, &body).await,
    };
    match done {
        Ok(()) => Ok(Ok(())),
        Err(verbs::Error::Store(error)) => Err(error.into()),
        Err(other) => Ok(Err(other.to_string())),
    }
}

/// The methods of Census's custom destinations.
async fn census(cx: Cx) -> Result<Answer, ApiError> {
    let call = Call::read(&cx)?;
    let outcome = match call.method.as_str() {
        "test_connection" => Ok(json!({"success": true})),
        "list_objects" => Ok(json!({"objects": [{"object_api_name": OBJECT, "label": "Audiences"}]})),
        "list_fields" => of_object(call.params.get("object")).map(|()| {
            let field = |name: &str, label: &str, identifier: bool| {
                json!({"field_api_name": name, "label": label, "identifier": identifier, "required": true,
                    "createable": true, "updateable": true, "type": "string", "array": false})
            };
            json!({"fields": [field("user_id", "User ID", true), field("audience_key", "Audience key", false)]})
        }),
        "supported_operations" => {
            of_object(call.params.get("object")).map(|()| json!({"operations": ["insert", "mirror"]}))
        }
        "get_sync_speed" => Ok(json!({"maximum_batch_size": BATCH, "maximum_parallel_batches": 4,
            "maximum_records_per_second": 5_000})),
        "sync_batch" => census_batch(&cx, &call.params).await?,
        _ => Err(call.unknown()),
    };
    Ok(call.answer(outcome))
}

fn of_object(object: Option<&Value>) -> Result<(), Fault> {
    match object.and_then(|object| object.get("object_api_name")).and_then(Value::as_str) {
        Some(OBJECT) => Ok(()),
        other => Err(Fault::Params(format!("there is no object `{}`", other.unwrap_or_default()))),
    }
}

/// A batch of records, each of which may name another audience.
async fn census_batch(cx: &Cx, params: &Map<String, Value>) -> Result<Outcome, ApiError> {
    let plan = params.get("sync_plan").unwrap_or(&Value::Null);
    if let Err(fault) = of_object(plan.get("object")) {
        return Ok(Err(fault));
    }
    let deed = match plan.get("operation").and_then(Value::as_str) {
        // What is to be mirrored comes as both of the last.
        Some("insert" | "upsert") => Deed::Add { makes: false },
        Some("delete") => Deed::Remove,
        other => {
            let message = format!("the operation `{}` is not supported", other.unwrap_or_default());
            return Ok(Err(Fault::Params(message)));
        }
    };
    let Some(records) = params.get("records").and_then(Value::as_array) else {
        return Ok(Err(Fault::Params("`records` is required, as a list".to_owned())));
    };
    let mut why: Vec<Option<String>> = vec![None; records.len()];
    let mut audiences: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        let key = plain(record.get("audience_key")).ok_or_else(|| "there is no audience key".to_owned());
        match key.and_then(|key| Ok((key, user(record.get("user_id"))?))) {
            Ok((key, user)) => audiences.entry(key).or_default().push(Member { at, user, tenant: None }),
            Err(fault) => why[at] = Some(fault),
        }
    }
    for (key, members) in &audiences {
        if let Err(fault) = apply(cx, key, members, deed).await? {
            members.iter().for_each(|member| why[member.at] = Some(fault.clone()));
        }
    }
    let result = |(record, why): (&Value, Option<String>)| {
        let mut result = json!({"identifier": record.get("user_id"), "success": why.is_none()});
        if let Some(why) = why {
            result["error_message"] = why.into();
        }
        result
    };
    Ok(Ok(json!({"record_results": records.iter().zip(why).map(result).collect::<Value>()})))
}

/// The methods of Hightouch's embedded destinations.
async fn hightouch(cx: Cx) -> Result<Answer, ApiError> {
    let call = Call::read(&cx)?;
    let configuration = call.params.get("configuration").unwrap_or(&Value::Null);
    let outcome = match call.method.as_str() {
        "list_objects" => Ok(json!({"objects": [{"id": OBJECT, "label": "Audiences"}]})),
        "list_modes" => Ok(json!({"modes": [
            {"id": INSERT, "label": "Insert only", "description": "Adds new rows to the audience, and never removes any."},
            {"id": MIRROR, "label": "Mirror", "description": "Adds new rows to the audience, and removes those that are gone."},
        ]})),
        "list_fields" => Ok(json!({"fields": [
            {"id": "user_id", "label": "User ID", "type": "STRING", "identifier": true, "required": true},
            {"id": "tenant", "label": "Tenant", "type": "STRING"},
        ]})),
        "list_options" => Ok(json!({"options": {
            "schema": {"type": "object", "required": ["audience_key"], "properties": {"audience_key": {
                "type": "string", "title": "Audience key",
                "description": "The key of the audience. It is made if there is none."}}},
            "uiSchema": {},
        }})),
        "validate" => Ok(json!({"errors": audience_key(configuration).err().into_iter().collect::<Vec<_>>()})),
        "behavior" => Ok(json!({"batchSize": BATCH, "skipInitialRun": false,
            "operations": {"add": true, "change": false, "remove": mode(configuration) != INSERT}})),
        "add" => hightouch_rows(&cx, configuration, &call.params, Deed::Add { makes: true }).await?,
        "remove" if mode(configuration) != INSERT => {
            hightouch_rows(&cx, configuration, &call.params, Deed::Remove).await?
        }
        _ => Err(call.unknown()),
    };
    Ok(call.answer(outcome))
}

const INSERT: &str = "insert";
const MIRROR: &str = "mirror";

fn mode(configuration: &Value) -> &str {
    configuration.get("mode").and_then(Value::as_str).unwrap_or_default()
}

fn audience_key(configuration: &Value) -> Result<&str, String> {
    let key = configuration.get("audience_key").and_then(Value::as_str).unwrap_or_default();
    match Audience::key_problem(key) {
        _ if key.is_empty() => Err("The audience key is missing.".to_owned()),
        Some(fault) => Err(format!("The audience key `{key}` {fault}.")),
        None => Ok(key),
    }
}

/// The column in which rows have a field.
fn column<'c>(configuration: &'c Value, field: &str) -> Option<&'c str> {
    let mappings = configuration.get("mappings").and_then(Value::as_array).into_iter().flatten();
    let mut all = configuration.get("identifierMapping").into_iter().chain(mappings);
    all.find(|mapping| mapping.get("to").is_some_and(|to| to == field))?.get("from")?.as_str()
}

/// Rows that are new in the warehouse, or gone from it.
async fn hightouch_rows(
    cx: &Cx,
    configuration: &Value,
    params: &Map<String, Value>,
    deed: Deed,
) -> Result<Outcome, ApiError> {
    let key = match audience_key(configuration) {
        Ok(key) => key,
        Err(fault) => return Ok(Err(Fault::Params(fault))),
    };
    let Some(rows) = params.get("rows").and_then(Value::as_array) else {
        return Ok(Err(Fault::Params("`rows` is required, as a list".to_owned())));
    };
    let Some(of_user) = column(configuration, "user_id") else {
        return Ok(Err(Fault::Params("no column is mapped to `user_id`".to_owned())));
    };
    let of_tenant = column(configuration, "tenant");
    let (mut members, mut rejected) = (Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let tenant = || tenant(of_tenant.and_then(|column| row.get(column)));
        match user(row.get(of_user)).and_then(|user| Ok((user, tenant()?))) {
            Ok((user, tenant)) => members.push(Member { at, user, tenant }),
            Err(why) => rejected.push((at, why)),
        }
    }
    let is_nowhere = matches!(deed, Deed::Remove) && !cx.core().knows_audience(cx.env(), key).await?;
    // Of an audience that is not there, nobody is a member.
    if !members.is_empty()
        && !is_nowhere
        && let Err(why) = apply(cx, key, &members, deed).await?
    {
        rejected.extend(members.iter().map(|member| (member.at, why.clone())));
        rejected.sort_by_key(|(at, _)| *at);
    }
    let rejected = rejected.into_iter().map(|(at, why)| json!({"row": rows[at], "reason": why}));
    Ok(Ok(json!({"rejectedRows": rejected.collect::<Value>()})))
}
