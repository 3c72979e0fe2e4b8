//! The pages as HTML. Everything that is not ours is escaped where it is written.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::http::escape::escaped;
use crate::model::preference_center::{Branding, Center, Look, account_name};
use crate::rules::choice::{Choice, Stand, choices};

/// A page, and what a browser may do with it.
pub(super) struct Page {
    pub(super) body: String,
    pub(super) policy: String,
}

/// What the page of preferences shows.
pub(super) struct Asked<'a> {
    pub(super) center: &'a Center,
    pub(super) vars: &'a Map<String, Value>,
    /// What the user is called (F-PCC-04).
    pub(super) user: &'a str,
    /// The user's default set.
    pub(super) set: &'a Value,
    /// The environment's.
    pub(super) lowest: Option<&'a Value>,
    pub(super) is_saved: bool,
}

/// Without what a browser would fill in by itself. Sizes go with the reader's own; a switch can be hit with a thumb.
const STYLE: &str = "*{box-sizing:border-box}\
body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}\
main{max-width:40rem;margin:0 auto;padding:2rem 1rem 4rem}\
header{margin-bottom:2rem;font-weight:600}\
header img{display:block;max-width:12rem;max-height:4rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem}\
p{margin:0 0 1rem;overflow-wrap:anywhere}\
.quiet{color:var(--soft)}\
.said{border:1px solid var(--line);border-inline-start:.3rem solid var(--accent);padding:.75rem 1rem;border-radius:.25rem}\
ul{list-style:none;margin:0 0 2rem;padding:0;border-top:1px solid var(--line)}\
ul>li{border-bottom:1px solid var(--line)}\
.switch{display:flex;gap:.75rem;align-items:flex-start;padding:1rem 0;min-height:2.75rem;cursor:pointer}\
.switch input{flex:none;width:1.4rem;height:1.4rem;margin:.1rem 0 0;accent-color:var(--accent)}\
.switch b{display:block;font-weight:600}\
.switch small{display:block;font-size:.9rem;color:var(--soft)}\
.switch:has(:disabled){cursor:default}\
fieldset{border:0;margin:0;padding:0 0 .5rem;min-width:0}\
legend{padding:1rem 0 0;font-weight:600}\
fieldset>p{margin:0;font-size:.9rem;color:var(--soft)}\
fieldset .switch{padding:.6rem 0}\
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.6rem 1.5rem;border:1px solid var(--on-accent);\
border-radius:.4rem;background:var(--accent);color:var(--on-accent);cursor:pointer}\
:focus-visible{outline:3px solid var(--ink);outline-offset:2px}";

/// The page on which somebody chooses (F-PCC-06, F-PCC-07).
pub(super) fn preferences(asked: &Asked<'_>) -> Page {
    let Asked { center, vars, user, set, lowest, is_saved } = asked;
    let mut main = String::new();
    let _ = write!(main, "<h1>{}</h1>", escaped(&center.title));
    if !center.body.is_empty() {
        let _ = write!(main, "<p>{}</p>", escaped(&center.body));
    }
    let _ = write!(main, "<p class=\"quiet\">{}</p>", escaped(user));
    if *is_saved {
        let _ = write!(main, "<p class=\"said\" role=\"status\">{}</p>", escaped(center.labels.get("saved")));
    }
    main.push_str("<form method=\"post\" action=\"?\"><ul>");
    let choices = choices(center);
    for (at, of_row) in choices.chunk_by(|a, b| std::ptr::eq(a.row, b.row)).enumerate() {
        main.push_str("<li>");
        let stands: Vec<(&Choice<'_>, Stand)> =
            of_row.iter().map(|choice| (choice, choice.stand(set, *lowest))).collect();
        match &stands[..] {
            [(choice, stand)] if choice.kind.is_none() => {
                switch(&mut main, center, choice, *stand, (&choice.row.name, &choice.row.description));
            }
            many => group(&mut main, center, many, at),
        }
        main.push_str("</li>");
    }
    let _ = write!(main, "</ul><button>{}</button></form>", escaped(center.labels.get("save")));
    framed(center, vars, &center.title, &main)
}

/// The switches of a row that has several.
fn group(out: &mut String, center: &Center, switches: &[(&Choice<'_>, Stand)], at: usize) {
    let Some((first, _)) = switches.first() else { return };
    let row = first.row;
    let _ = write!(out, "<fieldset aria-describedby=\"about-{at}\"><legend>{}</legend>", escaped(&row.name));
    let _ = write!(out, "<p id=\"about-{at}\">{}</p>", escaped(&row.description));
    for (choice, stand) in switches {
        let name = choice.kind.map(|kind| kind.as_str()).unwrap_or_default();
        switch(out, center, choice, *stand, (center.labels.get(name), ""));
    }
    out.push_str("</fieldset>");
}

/// One switch. What was on when it was shown goes along, so that only what was switched is changed.
fn switch(out: &mut String, center: &Center, choice: &Choice<'_>, stand: Stand, (name, about): (&str, &str)) {
    let id = escaped(&choice.id());
    if stand == Stand::On {
        let _ = write!(out, "<input type=\"hidden\" name=\"was\" value=\"{id}\">");
    }
    let state = match stand {
        Stand::On => " checked",
        Stand::Off => "",
        Stand::Fixed => " disabled",
    };
    let _ = write!(out, "<label class=\"switch\"><input type=\"checkbox\" name=\"on\" value=\"{id}\"{state}>");
    let _ = write!(out, "<span><b>{}</b>", escaped(name));
    for words in [about, if stand == Stand::Fixed { center.labels.get("fixed") } else { "" }] {
        if !words.is_empty() {
            let _ = write!(out, "<small>{}</small>", escaped(words));
        }
    }
    out.push_str("</span></label>");
}

/// What somebody sees who has unsubscribed, or taken that back (F-PCC-10).
pub(super) fn unsubscribed(center: &Center, vars: &Map<String, Value>, is_back: bool) -> Page {
    let mut main = String::new();
    let title = if is_back { center.labels.get("subscribed_again") } else { &center.unsubscribed.title };
    let _ = write!(main, "<div role=\"status\"><h1>{}</h1>", escaped(title));
    if !is_back {
        let _ = write!(main, "<p>{}</p>", escaped(&center.unsubscribed.body));
    }
    main.push_str("</div>");
    if !is_back {
        let again = escaped(center.labels.get("subscribe_again"));
        let _ = write!(main, "<form method=\"post\"><button name=\"subscribe\" value=\"1\">{again}</button></form>");
    }
    framed(center, vars, title, &main)
}

/// What somebody sees whose link is no good, whatever the reason.
pub(super) fn lost() -> Page {
    let main = "<h1>This link is not valid</h1><p>Open the link in a newer message, or ask whoever sent it to you.</p>";
    framed(&Center::default(), &Map::new(), "This link is not valid", main)
}

fn framed(center: &Center, vars: &Map<String, Value>, title: &str, main: &str) -> Page {
    let (branding, nonce) = (Branding::of(vars), Uuid::new_v4().simple().to_string());
    let account = account_name(vars).filter(|_| center.shows_account);
    let mut body = String::with_capacity(4096);
    let (lang, direction) = (escaped(&center.lang), direction(&center.lang));
    let _ = write!(body, "<!doctype html><html lang=\"{lang}\" dir=\"{direction}\"><head><meta charset=\"utf-8\">");
    body.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    let of = account.map(|name| format!(" – {name}")).unwrap_or_default();
    let _ = write!(body, "<title>{}</title>", escaped(&format!("{title}{of}")));
    if let Some(icon) = &branding.light.icon_url {
        let _ = write!(body, "<link rel=\"icon\" href=\"{}\">", escaped(icon));
    }
    let _ = write!(body, "<style nonce=\"{nonce}\">{}{STYLE}</style></head><body><main>", colors(&branding));
    body.push_str(&banner(&branding, account));
    let _ = write!(body, "{main}</main></body></html>");
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src{}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        pictures(&branding)
    );
    Page { body, policy }
}

/// Which way a language is written.
fn direction(lang: &str) -> &'static str {
    const FROM_THE_RIGHT: [&str; 9] = ["ar", "ckb", "dv", "fa", "he", "ps", "sd", "ur", "yi"];
    let language = lang.split('-').next().unwrap_or_default().to_ascii_lowercase();
    if FROM_THE_RIGHT.contains(&language.as_str()) { "rtl" } else { "ltr" }
}

/// The logo, else the account's name.
fn banner(branding: &Branding, account: Option<&str>) -> String {
    let Some(logo) = branding.light.logo_url.as_deref().or(branding.dark.logo_url.as_deref()) else {
        return account.map(|name| format!("<header>{}</header>", escaped(name))).unwrap_or_default();
    };
    let mut out = "<header><picture>".to_owned();
    if let Some(dark) = &branding.dark.logo_url {
        let _ = write!(out, "<source media=\"(prefers-color-scheme: dark)\" srcset=\"{}\">", escaped(dark));
    }
    let alt = escaped(account.unwrap_or_default());
    let _ = write!(out, "<img src=\"{}\" alt=\"{alt}\"></picture></header>", escaped(logo));
    out
}

/// The colours by day and by night. What was not set at night is as by day, and what was set nowhere black and white
/// (F-TEN-04).
fn colors(branding: &Branding) -> String {
    let set = |look: &Look, base: &Look, accent: &str, on_accent: &str| {
        let of = |own: &Option<String>, base: &Option<String>, default: &str| {
            own.as_deref().or(base.as_deref()).unwrap_or(default).to_owned()
        };
        let accent = of(&look.primary_color, &base.primary_color, accent);
        let on_accent = of(&look.primary_color_contrast, &base.primary_color_contrast, on_accent);
        format!("--accent:{accent};--on-accent:{on_accent}")
    };
    let (light, dark) = (&branding.light, &branding.dark);
    format!(
        ":root{{color-scheme:light dark;--ground:#fff;--ink:#1a1a1a;--soft:#595959;--line:#d0d0d0;{}}}\
         @media (prefers-color-scheme:dark){{:root{{--ground:#161616;--ink:#f2f2f2;--soft:#b4b4b4;--line:#444;{}}}}}",
        set(light, light, "#000000", "#FFFFFF"),
        set(dark, light, "#FFFFFF", "#000000"),
    )
}

/// Where pictures may come from, as the policy has it.
fn pictures(branding: &Branding) -> String {
    let looks = [&branding.light, &branding.dark];
    let urls = looks.into_iter().flat_map(|look| [&look.logo_url, &look.icon_url]).flatten();
    let mut out = String::new();
    for url in urls {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let _ = write!(out, " {scheme}://{host}");
    }
    if out.is_empty() { " 'none'".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preference_center::{Row, RowKind};
    use serde_json::json;

    #[test]
    fn nothing_that_is_configured_can_be_more_than_text() {
        let nasty = "<script>alert('1')</script>\"";
        let row = Row {
            kind: RowKind::Category,
            name: nasty.to_owned(),
            description: nasty.to_owned(),
            identifier: Some(nasty.to_owned()),
            channel_types: Vec::new(),
        };
        let center = Center {
            is_enabled: true,
            title: nasty.to_owned(),
            body: nasty.to_owned(),
            lang: nasty.to_owned(),
            rows: vec![row],
            ..Center::default()
        };
        let vars = json!({"app_name": nasty, "branding": {"logo_url": nasty, "primary_color": nasty}});
        let vars = vars.as_object().unwrap();
        let asked = Asked { center: &center, vars, user: nasty, set: &json!({}), lowest: None, is_saved: true };
        for page in [preferences(&asked), unsubscribed(&center, vars, false)] {
            assert!(!page.body.contains("<script") && !page.body.contains("1')"), "{}", page.body);
            assert!(!page.policy.contains("script"), "{}", page.policy);
        }
    }

    #[test]
    fn the_policy_lets_in_what_is_shown_and_nothing_else() {
        let vars =
            json!({"branding": {"logo_url": "https://cdn.a.io/l.png?x", "dark": {"logo_url": "https://b.io/d.png"}}});
        let page = unsubscribed(&Center::default(), vars.as_object().unwrap(), false);
        assert!(page.policy.contains("default-src 'none'"), "{}", page.policy);
        assert!(page.policy.contains("img-src https://cdn.a.io https://b.io;"), "{}", page.policy);
        let nonce = page.policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        assert!(page.body.contains(&format!("<style nonce=\"{nonce}\">")), "{}", page.body);
        assert!(!page.body.contains(" style=") && !page.body.contains("<script"), "{}", page.body);
        assert!(lost().policy.contains("img-src 'none'"));
        assert_ne!(lost().policy, lost().policy, "each page has a nonce of its own");
    }

    #[test]
    fn colours_fall_back_as_branding_does() {
        let of = |branding: Value| colors(&Branding::of(json!({"branding": branding}).as_object().unwrap()));
        let none = of(json!({}));
        assert!(
            none.contains("--accent:#000000;--on-accent:#FFFFFF")
                && none.contains("--accent:#FFFFFF;--on-accent:#000000")
        );
        let one = of(json!({"primary_color": "#0EA5E9"}));
        assert_eq!(one.matches("--accent:#0EA5E9").count(), 2, "{one}");
        let two = of(json!({"primary_color": "#0EA5E9", "dark_primary_color": "#abc"}));
        assert!(two.contains("--accent:#0EA5E9") && two.contains("--accent:#abc"), "{two}");
    }
}
