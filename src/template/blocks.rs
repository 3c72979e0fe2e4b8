//! Placeholder until the engine lands.
use serde_json::{Value, json};

use crate::model::invalid::Invalid;
use crate::template::{Env, Error};

#[derive(Debug)]
pub struct FeedTemplate(String);
impl FeedTemplate {
    pub fn parse(template: &Value, _path: &str) -> Result<FeedTemplate, Vec<Invalid>> {
        Ok(FeedTemplate(template["markdown_body"].as_str().unwrap_or_default().to_owned()))
    }
    pub fn render(&self, _env: &Env<'_>) -> Result<String, Error> {
        Ok(json!([{"type":"markdown","name":"body","content":self.0,"rendered":self.0}]).to_string())
    }
}
