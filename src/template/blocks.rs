//! The blocks of an in-app feed message, made from a step's template.

use serde_json::Value;

use crate::model::invalid::{Invalid, did_you_mean};

use super::links::Wrap;
use super::markdown::{to_safe_html, to_tracked_html};
use super::{Env, Error, Template, value::json_text};

const KEYS: [&str; 3] = ["markdown_body", "action_url", "action_buttons"];
const BUTTON_KEYS: [&str; 3] = ["label", "action", "name"];

/// The template of an in-app feed step (W-TPL-11), parsed once.
#[derive(Debug, Clone)]
pub struct FeedTemplate {
    body: Template,
    action_url: Option<Template>,
    buttons: Vec<Button>,
}

#[derive(Debug, Clone)]
struct Button {
    name: String,
    label: Template,
    action: Template,
}

impl FeedTemplate {
    /// Reads a step's `template` object, which stands at `path`; tells everything that is wrong with it at once.
    pub fn parse(template: &Value, path: &str) -> Result<FeedTemplate, Vec<Invalid>> {
        let mut reader = Reader { wrong: Vec::new() };
        reader.only(template, path, &KEYS);
        let body = reader.required(template, path, "markdown_body");
        let action_url = match template.get("action_url") {
            None | Some(Value::Null) => None,
            Some(_) => reader.required(template, path, "action_url"),
        };
        let buttons = reader.buttons(template.get("action_buttons"), &format!("{path}.action_buttons"));
        match body {
            Some(body) if reader.wrong.is_empty() => Ok(FeedTemplate { body, action_url, buttons }),
            _ => Err(reader.wrong),
        }
    }

    /// Whether `word` stands anywhere in the template: what it does not name need not be there.
    pub fn mentions(&self, word: &str) -> bool {
        let buttons = self.buttons.iter().flat_map(|button| [&button.label, &button.action]);
        let mut all = std::iter::once(&self.body).chain(&self.action_url).chain(buttons);
        all.any(|template| template.source().contains(word))
    }

    /// Renders the JSON text of the block array, compact, ready to be stored (F-BLC-01..05). Links of the body are wrapped
    /// where somebody does; addresses of actions never are (F-BLC-07).
    pub fn render(&self, env: &Env<'_>, wrap: Option<Wrap<'_>>) -> Result<String, Error> {
        let body = rendered(&self.body, env, "markdown_body")?;
        let body = wrap.map_or_else(|| to_safe_html(&body), |wrap| to_tracked_html(&body, wrap));
        let mut out = String::with_capacity(160 + self.body.source().len() + body.len());
        out.push('[');
        block("markdown", "body", self.body.source(), &body, &mut out);
        if let Some(action_url) = &self.action_url {
            let url = rendered(action_url, env, "action_url")?;
            out.push(',');
            block("text", "action_url", action_url.source(), url.trim(), &mut out);
        }
        if !self.buttons.is_empty() {
            out.push(',');
            self.render_buttons(env, &mut out)?;
        }
        out.push(']');
        Ok(out)
    }

    fn render_buttons(&self, env: &Env<'_>, out: &mut String) -> Result<(), Error> {
        out.push_str("{\"type\":\"button_set\",\"name\":\"actions\",\"buttons\":[");
        for (at, button) in self.buttons.iter().enumerate() {
            let (label, action) = (rendered(&button.label, env, "label")?, rendered(&button.action, env, "action")?);
            out.push_str(if at > 0 { ",{" } else { "{" });
            member("name", &button.name, out);
            out.push(',');
            member("label", label.trim(), out);
            out.push(',');
            member("action", action.trim(), out);
            out.push('}');
        }
        out.push_str("]}");
        Ok(())
    }
}

fn rendered(template: &Template, env: &Env<'_>, field: &str) -> Result<String, Error> {
    template.render(env).map_err(|e| Error { line: e.line, message: format!("`{field}`: {}", e.message) })
}

/// Writes a block: `content` is the Liquid source, `rendered` what came of it (F-BLC-02).
fn block(kind: &str, name: &str, content: &str, rendered: &str, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in
        [("type", kind), ("name", name), ("content", content), ("rendered", rendered)].into_iter().enumerate()
    {
        if at > 0 {
            out.push(',');
        }
        member(key, value, out);
    }
    out.push('}');
}

fn member(key: &str, value: &str, out: &mut String) {
    json_text(key, out);
    out.push(':');
    json_text(value, out);
}

/// Reads members and collects what is wrong with them.
struct Reader {
    wrong: Vec<Invalid>,
}

impl Reader {
    /// Refuses what is no object and keys that are not known.
    fn only(&mut self, value: &Value, path: &str, known: &[&'static str]) {
        let Some(map) = value.as_object() else {
            return self.wrong.push(Invalid::new(path, "An object is needed here."));
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let message = match did_you_mean(key, known.iter().copied()) {
                Some(question) => format!("There is no such key; {question}"),
                None => format!("There is no such key; allowed are {}.", known.join(", ")),
            };
            self.wrong.push(Invalid::new(format!("{path}.{key}"), message));
        }
    }

    /// Reads a member that must be text in Liquid (W-TPL-15).
    fn required(&mut self, value: &Value, path: &str, key: &str) -> Option<Template> {
        let path = format!("{path}.{key}");
        let parsed = match value.get(key) {
            Some(Value::String(source)) => Template::parse(source).map_err(|error| error.to_string()),
            None => Err("This is required: a text.".to_owned()),
            Some(_) => Err("A text is needed here.".to_owned()),
        };
        parsed.map_err(|message| self.wrong.push(Invalid::new(path, message))).ok()
    }

    fn buttons(&mut self, value: Option<&Value>, path: &str) -> Vec<Button> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| self.button(item, at, &format!("{path}[{at}]")))
                .collect(),
            Some(_) => {
                self.wrong.push(Invalid::new(path, "A list of buttons is needed here."));
                Vec::new()
            }
        }
    }

    fn button(&mut self, value: &Value, at: usize, path: &str) -> Option<Button> {
        self.only(value, path, &BUTTON_KEYS);
        let name = match value.get("name") {
            Some(Value::String(name)) => name.clone(),
            None | Some(Value::Null) => match at {
                0 => "primary".to_owned(),
                1 => "secondary".to_owned(),
                _ => format!("button_{}", at + 1),
            },
            Some(_) => {
                self.wrong.push(Invalid::new(format!("{path}.name"), "A text is needed here."));
                return None;
            }
        };
        let (label, action) = (self.required(value, path, "label"), self.required(value, path, "action"));
        Some(Button { name, label: label?, action: action? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::{scope::Scope, time::Time};

    use super::*;

    fn blocks(template: Value) -> Value {
        let (actor, data) = (json!({"name": "Ada"}), json!({"url": "https://app.example/b-9?a=1&b=2"}));
        let scope = Scope::new(vec![("actor", &actor), ("data", &data)]);
        let template = FeedTemplate::parse(&template, "template").unwrap();
        serde_json::from_str(&template.render(&Env::new(&scope, Time::default()), None).unwrap()).unwrap()
    }

    #[test]
    fn the_standard_variant_is_a_body_and_an_address() {
        assert_eq!(
            blocks(json!({"markdown_body": "**{{ actor.name }}** wrote", "action_url": "{{ data.url }}\n"})),
            json!([
                {"type": "markdown", "name": "body", "content": "**{{ actor.name }}** wrote",
                 "rendered": "<p><strong>Ada</strong> wrote</p>"},
                {"type": "text", "name": "action_url", "content": "{{ data.url }}\n",
                 "rendered": "https://app.example/b-9?a=1&b=2"},
            ]),
            "F-BLC-01 F-BLC-02 F-BLC-05 F-BLC-09 F-BLC-10 D-TPL-103 W-TPL-15: blocks are named by `name`, addresses are plain text"
        );
    }

    #[test]
    fn buttons_are_primary_and_secondary_in_their_order() {
        let button = |label: &str| json!({"label": label, "action": "{{ data.url }}"});
        let actions =
            |buttons: Value| blocks(json!({"markdown_body": "x", "action_url": null, "action_buttons": buttons}));
        let rendered = |name: &str, label: &str| json!({"name": name, "label": label, "action": "https://app.example/b-9?a=1&b=2"});
        assert_eq!(
            actions(json!([button("Open {{ actor.name }}")]))[1],
            json!({"type": "button_set", "name": "actions", "buttons": [rendered("primary", "Open Ada")]}),
            "F-BLC-03 F-BLC-04 W-TPL-12"
        );
        assert_eq!(
            actions(json!([button("Yes"), button("No")]))[1]["buttons"],
            json!([rendered("primary", "Yes"), rendered("secondary", "No")]),
            "F-BLC-06 W-TPL-12"
        );
        let named = json!([{"label": "Yes", "action": "/", "name": "accept"}]);
        assert_eq!(actions(named)[1]["buttons"][0]["name"], "accept");
        assert_eq!(actions(json!([])).as_array().unwrap().len(), 1, "F-BLC-05: no address, no buttons, no blocks");
    }

    #[test]
    fn links_are_wrapped_in_the_body_and_nowhere_else() {
        let template = json!({"markdown_body": "[x]({{ data.url }})", "action_url": "{{ data.url }}",
            "action_buttons": [{"label": "{{ data.url }}", "action": "{{ data.url }}"}]});
        let data = json!({"url": "https://app.example/b-9"});
        let scope = Scope::new(vec![("data", &data)]);
        let template = FeedTemplate::parse(&template, "template").unwrap();
        let wrap = |url: &str| format!("https://t/{}", url.len());
        let blocks = template.render(&Env::new(&scope, Time::default()), Some(&wrap)).unwrap();
        let blocks: Value = serde_json::from_str(&blocks).unwrap();
        assert_eq!(blocks[0]["rendered"], "<p><a href=\"https://t/23\">x</a></p>", "F-BLC-07");
        assert_eq!(blocks[1]["rendered"], "https://app.example/b-9", "F-BLC-07 D-TRK-06");
        let button =
            json!({"name": "primary", "label": "https://app.example/b-9", "action": "https://app.example/b-9"});
        assert_eq!(blocks[2]["buttons"][0], button, "F-BLC-07 D-TRK-06");
    }

    #[test]
    fn a_body_is_safe_to_inject() {
        let body = blocks(json!({"markdown_body": "[x](javascript:alert(1)) <script>x</script>"}));
        assert_eq!(body[0]["rendered"], "<p>x </p>", "F-BLC-08 D-AMB-21");
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let template = json!({
            "markdown_bod": "x", "action_url": 5,
            "action_buttons": [{"label": "a\n{{ b | upcas }}", "actions": "/"}, 7],
        });
        let wrong = FeedTemplate::parse(&template, "steps[0].template").unwrap_err();
        let told: Vec<String> = wrong.iter().map(Invalid::to_string).collect();
        for expected in [
            "steps[0].template.markdown_bod: There is no such key; did you mean `markdown_body`?",
            "steps[0].template.markdown_body: This is required: a text.",
            "steps[0].template.action_url: A text is needed here.",
            "steps[0].template.action_buttons[0].actions: There is no such key; did you mean `action`?",
            "steps[0].template.action_buttons[0].label: line 2: There is no filter `upcas`; did you mean `upcase`?",
            "steps[0].template.action_buttons[0].action: This is required: a text.",
            "steps[0].template.action_buttons[1]: An object is needed here.",
        ] {
            assert!(told.iter().any(|told| told == expected), "W-TPL-11 D-TPL-06 {expected}: {told:#?}");
        }
    }

    #[test]
    fn a_failing_field_is_named() {
        let template = FeedTemplate::parse(&json!({"markdown_body": "x\n{{ 1 | divided_by: 0 }}"}), "t").unwrap();
        let scope = Scope::default();
        let error = template.render(&Env::new(&scope, Time::default()), None).unwrap_err();
        assert_eq!(error.to_string(), "line 2: `markdown_body`: `divided_by`: a number cannot be divided by 0.");
    }
}
