//! What Knock adds: filters, partials, translations, root values.

use serde_json::{Value, json};

use super::{check, check_errors};
use crate::{
    model::{scope::Scope, time::Time},
    template::{Env, Lookup, Template},
};

#[test]
fn times_in_zones_and_locales() {
    check(
        "D-TPL-11",
        &[
            ("{{ at | timezone: 'America/New_York' }}", "2023-12-31T19:30:00-05:00"),
            ("{{ at | timezone: 'Etc/UTC' }}", "2024-01-01T00:30:00Z"),
            ("{{ at | timezone: 'Asia/Kolkata' | date: '%H:%M' }}", "06:00"),
            ("{{ at | timezone: absent }}{{ absent | timezone: 'Asia/Kolkata' }}", "2024-01-01T00:30:00Z"),
        ],
    );
    check(
        "D-TPL-13",
        &[
            ("{{ '2023-12-31' | format_date_in_locale: 'en-US' }}", "12/31/23"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-US', 'medium' }}", "Dec 31, 2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-US', 'long' }}", "December 31, 2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-US', 'full' }}", "Sunday, December 31, 2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-GB', 'short' }}", "31/12/2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-GB', 'medium' }}", "31 Dec 2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-GB', 'long' }}", "31 December 2023"),
            ("{{ '2023-12-31' | format_date_in_locale: 'en-GB', 'full' }}", "Sunday, 31 December 2023"),
        ],
    );
    check(
        "D-TPL-14",
        &[
            (
                "{{ '2023-12-31T14:30:45Z' | format_datetime_in_locale: 'en-US', 'short', 'short' }}",
                "12/31/23, 2:30 PM",
            ),
            (
                "{{ '2023-12-31T14:30:45Z' | format_datetime_in_locale: 'en-US', 'short', 'medium' }}",
                "12/31/23, 2:30:45 PM",
            ),
            (
                "{{ '2023-12-31T14:30:45Z' | format_datetime_in_locale: 'en-US', 'short', 'long' }}",
                "12/31/23, 2:30:45 PM UTC",
            ),
            (
                "{{ '2023-12-31T14:30:45Z' | format_datetime_in_locale: 'en-US', 'short', 'full' }}",
                "12/31/23, 2:30:45 PM Coordinated Universal Time",
            ),
            (
                "{{ '2023-12-31T14:30:45-05:00' | format_datetime_in_locale: 'en-US', 'short', 'long' }}",
                "12/31/23, 2:30:45 PM GMT-5",
            ),
            (
                "{{ '2023-12-31T14:30:45Z' | format_datetime_in_locale: 'en-GB', 'medium', 'short' }}",
                "31 Dec 2023, 14:30",
            ),
        ],
    );
}

#[test]
fn dates_in_many_languages() {
    let table = [
        ("de", ["31.12.23", "31.12.2023", "31. Dezember 2023", "Sonntag, 31. Dezember 2023"]),
        ("de-DE", ["31.12.23", "31.12.2023", "31. Dezember 2023", "Sonntag, 31. Dezember 2023"]),
        ("fr", ["31/12/2023", "31 déc. 2023", "31 décembre 2023", "dimanche 31 décembre 2023"]),
        ("es", ["31/12/23", "31 dic 2023", "31 de diciembre de 2023", "domingo, 31 de diciembre de 2023"]),
        ("it", ["31/12/23", "31 dic 2023", "31 dicembre 2023", "domenica 31 dicembre 2023"]),
        ("pt_BR", ["31/12/2023", "31 de dez. de 2023", "31 de dezembro de 2023", "domingo, 31 de dezembro de 2023"]),
        ("nl", ["31-12-2023", "31 dec 2023", "31 december 2023", "zondag 31 december 2023"]),
        ("sv", ["2023-12-31", "31 dec. 2023", "31 december 2023", "söndag 31 december 2023"]),
        ("da", ["31.12.2023", "31. dec. 2023", "31. december 2023", "søndag den 31. december 2023"]),
        ("nb", ["31.12.2023", "31. des. 2023", "31. desember 2023", "søndag 31. desember 2023"]),
        ("fi", ["31.12.2023", "31.12.2023", "31. joulukuuta 2023", "sunnuntai 31. joulukuuta 2023"]),
        ("pl", ["31.12.2023", "31 gru 2023", "31 grudnia 2023", "niedziela, 31 grudnia 2023"]),
        ("ja", ["2023/12/31", "2023/12/31", "2023年12月31日", "2023年12月31日日曜日"]),
        ("zh", ["2023/12/31", "2023年12月31日", "2023年12月31日", "2023年12月31日星期日"]),
        ("ko", ["23. 12. 31.", "2023. 12. 31.", "2023년 12월 31일", "2023년 12월 31일 일요일"]),
        ("ru", ["31.12.2023", "31 дек. 2023 г.", "31 декабря 2023 г.", "воскресенье, 31 декабря 2023 г."]),
        ("sw", ["2023-12-31", "2023-12-31", "2023-12-31", "2023-12-31"]),
    ];
    for (locale, expected) in table {
        for (length, expected) in ["short", "medium", "long", "full"].iter().zip(expected) {
            let source = format!("{{{{ '2023-12-31' | format_date_in_locale: '{locale}', '{length}' }}}}");
            check("D-TPL-21", &[(&source, expected)]);
        }
    }
    check(
        "D-TPL-21",
        &[
            (
                "{{ '2023-12-31T14:30:00Z' | format_datetime_in_locale: 'ko', 'short', 'short' }}",
                "23. 12. 31. 오후 2:30",
            ),
            ("{{ '2023-12-31T14:30:00Z' | format_datetime_in_locale: 'da', 'short', 'short' }}", "31.12.2023 14.30"),
            (
                "{{ '2023-12-31T14:30:00Z' | format_datetime_in_locale: 'zh-Hant', 'short', 'short' }}",
                "2023/12/31 下午2:30",
            ),
            ("{{ 'soon' | format_date_in_locale: 'en' }}{{ absent | format_date_in_locale: 'en' }}", "soon"),
        ],
    );
    check_errors(
        "D-AMB-20",
        &[(
            "{{ at | format_date_in_locale: 'en', 'tiny' }}",
            "line 1: `format_date_in_locale`: `tiny` is none of short, medium, long, full.",
        )],
    );
}

#[test]
fn numbers_and_amounts() {
    check(
        "D-TPL-15 D-TPL-21",
        &[
            ("{{ 10000 | format_number: 'en' }}", "10,000"),
            ("{{ 1234567.8915 | format_number: 'en' }} {{ -1234.5 | format_number }}", "1,234,567.892 -1,234.5"),
            ("{{ 10000.5 | format_number: 'de' }}", "10.000,5"),
            ("{{ 10000 | format_number: 'fr' }}", "10\u{202f}000"),
            ("{{ 10000 | format_number: 'sv' }}", "10\u{a0}000"),
            ("{{ 1000 | format_number: 'es' }} {{ 10000 | format_number: 'es' }}", "1000 10.000"),
            ("{{ 1234567 | format_number: 'hi' }}", "12,34,567"),
            (
                "{{ '10000' | format_number: 'en' }}{{ 'x' | format_number: 'en' }}{{ absent | format_number: 'en' }}",
                "10,000x",
            ),
        ],
    );
    check(
        "D-TPL-16",
        &[
            ("{{ 10 | currency }}", "$10.00"),
            ("{{ 10 | currency: 'GBP', 'en' }}", "£10.00"),
            ("{{ 1234.5 | currency: 'EUR', 'de' }}", "1.234,50\u{a0}€"),
            ("{{ 1234.5 | currency: 'EUR', 'nl' }}", "€\u{a0}1.234,50"),
            ("{{ 10 | currency: 'SEK', 'sv' }} {{ 10 | currency: 'SEK', 'en' }}", "10,00\u{a0}kr SEK\u{a0}10.00"),
            ("{{ 10 | currency: 'JPY', 'ja' }} {{ 10 | currency: 'brl', 'pt-BR' }}", "￥10 R$\u{a0}10,00"),
            ("{{ -5.5 | currency }} {{ '3' | currency }} {{ 'x' | currency }}", "-$5.50 $3.00 x"),
            (
                "{{ 10.99 | rounded_currency: 'GBP', 'en' }} {{ 10.49 | rounded_currency }} {{ 10.5 | rounded_currency }}",
                "£11 $10 $11",
            ),
        ],
    );
}

#[test]
fn json_in_and_out() {
    check(
        "D-TPL-17 D-AMB-22",
        &[
            ("{{ user | json }}", r#"{"address":{"city":"Rome"},"name":"Grace","size":99,"tags":["x","y"]}"#),
            (
                "{{ name | json }}{{ nothing | json }}{{ absent | json }}{{ 3.0 | json }}{{ odd | json }}",
                r#""Ada"nullnull3.0"it's \"odd\"""#,
            ),
            ("{{ (1..3) | json }}{{ 'a,b' | split: ',' | json }}", r#"[1,2,3]["a","b"]"#),
            (
                r#"{% assign x = '{"a":{"b":[1,2]}}' | from_json %}{{ x.a.b[1] }}{% for i in x.a.b %}{{ i }}{% endfor %}{{ x | json }}"#,
                r#"212{"a":{"b":[1,2]}}"#,
            ),
            (r#"{% assign x = 'false' | from_json %}{% if x %}y{% else %}n{% endif %}"#, "n"),
            ("{{ 'not json' | from_json }}{{ map | from_json | json }}", r#"not json{"a":1,"b":2}"#),
            (
                r#"{% assign x = '{"b":1,"a":2}' | from_json %}{% for p in x %}{{ p[0] }}{{ p[1] }}{% endfor %}{{ x.size }}"#,
                "a2b12",
            ),
        ],
    );
}

#[test]
fn words_digests_and_versions() {
    check(
        "D-TPL-18 D-AMB-22",
        &[
            (
                "{{ 1 | pluralize: 'item', 'items' }}{{ 2 | pluralize: 'item', 'items' }}{{ 0 | pluralize: 'item', 'items' }}",
                "itemitemsitems",
            ),
            (
                "{{ '1' | pluralize: 'a', 'b' }}{{ 'x' | pluralize: 'a', 'b' }}{{ absent | pluralize: 'a', 'b' }}{{ 1.0 | pluralize: 'a', 'b' }}",
                "abba",
            ),
            ("{{ 'hello big WORLD' | titlecase }}", "Hello Big World"),
            ("{{ 'hello' | md5 }}", "5d41402abc4b2a76b9719d911017c592"),
            ("{{ 'hello' | sha256 }}", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
            (
                "{{ 'The quick brown fox jumps over the lazy dog' | hmac_sha256: 'key' }}",
                "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
            ),
            ("{{ 'a,b,c,b' | split: ',' | intersect: words }}", r#"["a","b"]"#),
            (
                "{{ words | intersect: user.tags | size }}{% assign x = nums | intersect: matrix[0] %}{% for w in x %}<{{ w }}>{% endfor %}",
                "0<1><2>",
            ),
            ("{{ '**hi**' | from_markdown }}", "<p><strong>hi</strong></p>"),
            (
                "{{ '1.2.3' | compare_versions: '1.10.0' }}{{ '2.0.0' | compare_versions: '1.9' }}{{ 'v1.0.0' | compare_versions: '1.0.0' }}",
                "-110",
            ),
            (
                "{{ '1.0.0-rc.1' | compare_versions: '1.0.0' }} {{ '1.0.0-rc.2' | compare_versions: '1.0.0-rc.10' }} {{ '1.0.0-a' | compare_versions: '1.0.0-1' }}",
                "-1 -1 1",
            ),
            ("{{ 'x' | compare_versions: '1.0.0' }}", "x"),
        ],
    );
}

struct House;

impl Lookup for House {
    fn user(&self, id: &str) -> Option<Value> {
        (id == "u1")
            .then(|| json!({"id": "u1", "name": "Lin", "created_at": "2024-01-01T00:00:00Z", "plan": {"tier": "pro"}}))
    }
    fn object(&self, collection: &str, id: &str) -> Option<Value> {
        (collection == "boards" && id == "b1").then(|| json!({"id": "b1", "collection": "boards", "title": "Plans"}))
    }
    fn tenant(&self, id: &str) -> Option<Value> {
        (id == "t1").then(|| json!({"id": "t1", "name": "North"}))
    }
    fn subscriptions(&self, user: &str) -> Vec<Value> {
        let count = if user == "u1" { 30 } else { 0 };
        (0..count).map(|n| json!({"object": {"id": format!("o{n}")}, "properties": {"role": "x"}})).collect()
    }
    fn partial(&self, key: &str) -> Option<Template> {
        let source = match key {
            "card" => "[{{ title }}|{{ n }}|{{ recipient.name }}|{{ assigned }}]{% assign leak = 1 %}",
            "deep" => "{% render 'deep' %}",
            "broken" => "a\n{{ 1 | divided_by: 0 }}",
            _ => return None,
        };
        Template::parse(source).ok()
    }
    fn translation(&self, key: &str) -> Option<Value> {
        Some(match key {
            "hello" => json!("Bonjour {{ name }}{{ recipient.name }}"),
            "Hi {{ recipient.name }}!" => json!("Salut {{ recipient.name }} !"),
            "items" => json!({"zero": "rien", "one": "un", "other": "{{ count }} choses"}),
            "few" => json!({"one": "un", "other": "{{ count }}"}),
            "loop" => json!("{{ 'loop' | t }}"),
            "year" => json!(2024),
            _ => return None,
        })
    }
}

fn in_house(source: &str) -> Result<String, crate::template::Error> {
    let (recipient, data) =
        (json!({"id": "u1", "name": "Ada"}), json!({"page": "home", "recipient": "shadowed", "is_off": false}));
    let scope = Scope::new(vec![("recipient", &recipient), ("data", &data)]).with_fallback(data.as_object());
    Template::parse(source)?.render(&Env { lookup: &House, ..Env::new(&scope, Time::default()) })
}

fn check_house(rule: &str, table: &[(&str, &str)]) {
    for (source, expected) in table {
        assert_eq!(in_house(source).as_deref(), Ok(*expected), "{rule} {source}");
    }
}

#[test]
fn entities_are_looked_up() {
    check_house(
        "D-TPL-19 D-TPL-20",
        &[
            (
                "{% assign u = 'u1' | user %}{{ u.name }} {{ u.plan.tier }} {{ u.created_at }}",
                "Lin pro 2024-01-01T00:00:00Z",
            ),
            ("{% assign u = 'nope' | user %}[{{ u.name }}]{% if u %}y{% else %}n{% endif %}", "[]n"),
            ("{% assign o = 'b1' | object: 'boards' %}{{ o.title }}", "Plans"),
            ("{% assign t = 't1' | tenant %}{{ t.name }}", "North"),
            (
                "{% assign s = recipient.id | subscriptions %}{{ s.size }}{{ s[0].object.id }}{{ s.last.properties.role }}",
                "25o0x",
            ),
            ("{{ 'x' | subscriptions | size }}", "0"),
        ],
    );
}

#[test]
fn look_ups_are_bounded() {
    let error = in_house("{% for i in (1..5000) %}{% assign u = 'u1' | user %}{% endfor %}").unwrap_err();
    assert!(error.message.contains("more than 100000 steps"), "D-TPL-19 {error}");
}

#[test]
fn data_is_named_without_its_prefix_unless_a_root_has_the_name() {
    check_house("W-SCP-05 D-TPL-31", &[("{{ page }} {{ data.page }} {{ recipient.name }}", "home home Ada")]);
}

#[test]
fn partials_see_what_they_are_given() {
    check_house(
        "D-TPL-04 D-TPL-52",
        &[
            ("{% assign assigned = 1 %}{% render 'card', title: recipient.name, n: 2 %}{{ leak }}", "[Ada|2||]"),
            ("{% render 'card' title: 'x' %}", "[x|||]"),
            ("{% for i in (1..2) %}{% render 'card', n: i %}{% endfor %}", "[|1||][|2||]"),
        ],
    );
    let error = in_house("\n{% render 'broken' %}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2: In partial `broken`, line 2: `divided_by`: a number cannot be divided by 0."
    );
    assert!(in_house("{% render 'deep' %}").unwrap_err().message.contains("nested deeper than 5"), "D-TPL-52");
}

#[test]
fn translations_are_filled_in() {
    check_house(
        "D-TPL-19 D-TPL-92 D-AMB-23",
        &[
            ("{{ 'hello' | t: name: recipient.name }}", "Bonjour Ada"),
            ("{{ 'hello' | t: name: 'ada' | upcase }}", "BONJOUR ADA"),
            ("{{ 'nope' | t | default: 'x' }}{{ 'nope' | t }}{{ 'year' | t }}", "x2024"),
        ],
    );
    check_house(
        "D-TPL-93",
        &[
            (
                "{{ 'items' | t: count: 0 }},{{ 'items' | t: count: 1 }},{{ 'items' | t: count: 7 }},{{ 'few' | t: count: 0 }}",
                "rien,un,7 choses,0",
            ),
            ("[{{ 'items' | t }}]", "[]"),
        ],
    );
    check_house(
        "D-TPL-94",
        &[
            ("{% t %}Hi {{ recipient.name }}!{% endt %}", "Salut Ada !"),
            ("{% t %}Ho {{ recipient.name }}!{% endt %}", "Ho Ada!"),
        ],
    );
    assert!(in_house("{{ 'loop' | t }}").unwrap_err().message.contains("nested deeper than 5"));
}

#[test]
fn strictness_refuses_what_is_absent() {
    let recipient = json!({"name": "Ada", "nick": null});
    let scope = Scope::new(vec![("recipient", &recipient)]);
    let env = Env { strict: true, ..Env::new(&scope, Time::default()) };
    let render = |source: &str| Template::parse(source).unwrap().render(&env).map_err(|error| error.to_string());
    assert_eq!(render("{{ recipient.name }}{{ recipient.nick }}").as_deref(), Ok("Ada"), "W-UPD-04 W-AMB-39");
    assert_eq!(render("\n{{ recipient.nam }}").unwrap_err(), "line 2: `recipient.nam` is not defined.", "W-UPD-04");
    assert_eq!(render("{{ nam | upcase }}").unwrap_err(), "line 1: `nam` is not defined.", "W-UPD-04");
    assert_eq!(render("{{ recipient.nam | default: 'x' }}").as_deref(), Ok("x"), "W-UPD-04");
    assert_eq!(render("{% if nam %}a{% else %}b{% endif %}").as_deref(), Ok("b"));
}

/// D-TPL-31..37: the shapes that a run's scope has are reached by name.
#[test]
fn a_runs_values_are_reached() {
    let recipient = json!({"__typename": "User", "id": "u1", "preferences": {"categories": {"news": true}}});
    let activities = json!([{"id": "a1", "actor": {"name": "Bo"}, "page": 1, "data": {"page": 1}}]);
    let workflow = json!({"id": "v1", "key": "welcome", "categories": ["news"]});
    let (total, message, timestamp) = (json!(3), json!({"id": "m1"}), json!("2024-01-01T00:30:00.000000Z"));
    let actor = Value::Null;
    let scope = Scope::new(vec![
        ("recipient", &recipient),
        ("activities", &activities),
        ("workflow", &workflow),
        ("total_activities", &total),
        ("current_message", &message),
        ("timestamp", &timestamp),
        ("actor", &actor),
    ]);
    let render = |source: &str| Template::parse(source).unwrap().render(&Env::new(&scope, Time::default())).unwrap();
    assert_eq!(
        render("{{ recipient.__typename }} {{ recipient.preferences.categories.news }}"),
        "User true",
        "D-TPL-32"
    );
    assert_eq!(
        render("{% for a in activities %}{{ a.actor.name }}{{ a.page }}{{ a.data.page }}{% endfor %}"),
        "Bo11",
        "D-TPL-33"
    );
    assert_eq!(render("{{ current_message.id }}"), "m1", "D-TPL-34");
    assert_eq!(render("{{ workflow.key }} {{ workflow.categories | join }}"), "welcome news", "D-TPL-35");
    assert_eq!(
        render("{{ tenant.id }}{{ tenant.settings.branding.logo_url }}{{ actor.name }}"),
        "",
        "D-TPL-36 D-TPL-32"
    );
    assert_eq!(render("{{ timestamp | date: '%H:%M' }}"), "00:30", "D-TPL-37");
    assert_eq!(render("{{ total_activities | minus: 1 }}"), "2", "D-TPL-31");
}
