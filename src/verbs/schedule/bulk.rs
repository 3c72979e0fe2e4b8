//! Many schedules, each with its own recipient and timing (W-SCH-38).

use serde_json::{Value, json};

use crate::model::invalid::Invalid;
use crate::store::Env;
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, Error};

use super::Wanted;

/// What is wrong with an entry, which stands at `path`.
pub(in crate::verbs) async fn faults(core: &Core, env: Env, entry: &Value, path: &str) -> Result<Vec<Invalid>, Error> {
    let found = match Wanted::parse(core, env, body(entry)).await {
        Ok(_) => Vec::new(),
        Err(Error::Invalid(found)) => found,
        Err(error @ Error::WorkflowMissing(_)) => vec![Invalid::new("workflow", error.to_string())],
        Err(error) => return Err(error),
    };
    // Where it stands in the body that was sent.
    let own = |fault: &Invalid| format!("{path}.{}", fault.path.replacen("recipients[0]", "recipient", 1));
    Ok(found.into_iter().map(|fault| Invalid::new(own(&fault), fault.message)).collect())
}

/// Adds the schedule of an entry.
pub(in crate::verbs) async fn stage<'c>(
    core: &'c Core,
    env: Env,
    entry: &Value,
    change: &mut Change,
) -> Result<Turn<'c>, Error> {
    let wanted = Wanted::parse(core, env, body(entry)).await?;
    let (mut staged, turn) = core.staged(env, None, &wanted).await?;
    let made = wanted.plan(env, core.clock.now(), &mut staged).await?;
    staged.write(change).await?;
    super::add(change, &made);
    Ok(turn)
}

/// An entry as the body of a call of its own: one with `recipients`.
fn body(entry: &Value) -> Value {
    let mut body = entry.as_object().cloned().unwrap_or_default();
    let recipient = body.remove("recipient").unwrap_or_default();
    body.insert("recipients".to_owned(), json!([recipient]));
    Value::Object(body)
}
