//! A template cannot run away, whatever it holds.

use proptest::prelude::*;
use serde_json::json;

use crate::{
    model::{scope::Scope, time::Time},
    template::{Env, Error, Limits, Template},
};

fn render(source: &str, limits: Limits) -> Result<String, Error> {
    let list = json!([1, "a", null, {"k": [1.5, true]}]);
    let scope = Scope::new(vec![("list", &list)]);
    Template::parse(source)?.render(&Env { limits, ..Env::new(&scope, Time::default()) })
}

const SMALL: Limits = Limits { steps: 1000, output_bytes: 1000 };

#[test]
fn what_takes_too_many_steps_ends() {
    for source in [
        "{% for i in (1..1000000000) %}{% assign x = i %}{% endfor %}",
        "{% for i in (1..100) %}{% for j in (1..100) %}{% endfor %}{% endfor %}",
        "{% for i in (1..500) %}{% assign x = '' %}{% if x %}{% endif %}{% endfor %}",
        "{{ (1..1000000000) | join }}",
        "{% assign x = (1..9000000000000000000) | size %}{{ (0..9000000000000000000) | reverse | first }}",
        "{% assign x = 'aaaaaaaa' %}{% for i in (1..5) %}{% assign x = x | append: x %}{% endfor %}{% for i in (1..400) %}{% if x contains 'b' %}{% endif %}{% endfor %}",
        "{% assign l = '1,2,3,4,5,6,7,8' | split: ',' %}{% for i in (1..30) %}{% assign l = l | concat: l %}{% endfor %}",
    ] {
        let error = render(source, SMALL).expect_err(source);
        assert!(error.message.contains("more than 1000 steps"), "{source}: {error}");
    }
}

#[test]
fn what_grows_too_long_ends() {
    for source in [
        "{% tablerow i in (1..100000) %}{% endtablerow %}",
        "{% for i in (1..400) %}abc{% endfor %}",
        "{% assign x = 'aaaaaaaa' %}{% for i in (1..60) %}{% assign x = x | append: x %}{% endfor %}",
        "{% assign x = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' %}{{ x | replace: 'a', x }}",
        "{% capture x %}{% for i in (1..400) %}abc{% endfor %}{% endcapture %}",
        "{% assign x = '%64Y' %}{% for i in (1..8) %}{% assign x = x | append: x %}{% endfor %}{{ 0 | date: x }}",
    ] {
        let error = render(source, SMALL).expect_err(source);
        assert!(error.message.contains("bytes") || error.message.contains("too long"), "{source}: {error}");
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| "{% if true %}".repeat(depth) + "x" + &"{% endif %}".repeat(depth);
    assert_eq!(render(&nested(100), Limits::default()).as_deref(), Ok("x"));
    let error = Template::parse(&nested(101)).unwrap_err();
    assert_eq!(error.message, "Blocks are nested deeper than 100.");
    assert!(Template::parse(&"{% if true %}".repeat(100_000)).is_err());
    let brackets = format!("{{{{ a{}b{} }}}}", "[a".repeat(100_000), "]".repeat(100_000));
    assert_eq!(Template::parse(&brackets).unwrap_err().message, "Brackets are nested deeper than 100.");
    let conditions = format!("{{% if a{} %}}x{{% endif %}}", " and a".repeat(10_000));
    assert_eq!(render(&conditions, Limits::default()).as_deref(), Ok(""));
}

#[test]
fn a_template_is_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Template>();
}

fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "{{",
        "}}",
        "{%",
        "%}",
        "-",
        "if ",
        "endif",
        "for i in ",
        "endfor",
        "list",
        "(1..3)",
        "(1..99999999999)",
        "|",
        " date: ",
        " append: ",
        " split: ",
        " concat: list",
        " sort",
        " uniq",
        " json",
        " from_json",
        " slice: ",
        " truncate: ",
        " round: ",
        " divided_by: ",
        " times: ",
        "'%Y'",
        "'%99999d'",
        "\"",
        "'",
        "9223372036854775807",
        "-9223372036854775808",
        "1e5",
        "0",
        "-1",
        "2.5",
        "0.0",
        "nil",
        "true",
        "empty",
        "blank",
        " and ",
        " or ",
        " contains ",
        "==",
        "<",
        "[",
        "]",
        ".",
        "..",
        ",",
        ":",
        "é",
        "日本",
        "\n",
        " ",
        "raw",
        "endraw",
        "comment",
        "endcomment",
        "liquid\n",
        "#",
        "assign x = ",
        "capture x",
        "endcapture",
        "x",
        "cycle ",
        "increment x",
        "case x",
        "when 1",
        "else",
        "endcase",
        "tablerow i in ",
        "endtablerow",
        " cols: ",
        " limit: ",
        " offset: ",
        "continue",
        " reversed",
        "{% if true %}",
        "{% endif %}",
        "{% for i in list %}",
        "{% endfor %}",
        "{{ i }}",
        "{{ x | ",
        " }}",
        "{% assign x = ",
        " %}",
        " strip_html",
        " url_decode",
        " base64_decode",
        " currency: 'EUR', 'de'",
        " format_date_in_locale: 'fr', 'full'",
        " timezone: 'Asia/Tokyo'",
        " escape_once",
        " titlecase",
        " strip",
        " sum",
        " compare_versions: '1.0'",
        " from_markdown",
        "&",
        "<script",
        "forloop.index",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

/// Soup that parses more often: whole outputs and assignments with filters in random order.
fn stew() -> impl Strategy<Value = String> {
    let start = proptest::sample::select(vec![
        "list",
        "'a,b'",
        "5",
        "-2.5",
        "nil",
        "'2024-01-01T00:00:00Z'",
        "(1..5)",
        "x",
        "list[3].k",
        "'é<b>'",
        "9223372036854775807",
        "'1e400'",
    ]);
    let filter = proptest::sample::select(vec![
        "append: x",
        "split: ''",
        "join: ','",
        "sort",
        "sort_natural",
        "uniq",
        "json",
        "from_json",
        "slice: -2, 5",
        "truncate: 3",
        "truncatewords: 1",
        "round: 3",
        "round: -99",
        "divided_by: 3",
        "divided_by: 0.5",
        "times: 9223372036854775807",
        "modulo: -3",
        "abs",
        "ceil",
        "floor",
        "date: '%c %64Y %N %:z %j', 'Asia/Tokyo'",
        "timezone: 'America/New_York'",
        "format_datetime_in_locale: 'ru', 'full', 'full'",
        "currency: 'JPY', 'hi'",
        "rounded_currency",
        "format_number: 'es'",
        "escape",
        "escape_once",
        "strip_html",
        "url_encode",
        "url_decode",
        "base64_encode",
        "md5",
        "sha256",
        "map: 'k'",
        "where: 'k'",
        "sum",
        "concat: list",
        "intersect: list",
        "compact",
        "reverse",
        "first",
        "last",
        "size",
        "default: 'd'",
        "titlecase",
        "pluralize: 'a', 'b'",
        "compare_versions: '1.2.3-a'",
        "from_markdown",
        "capitalize",
        "replace: 'a', 'bb'",
        "remove_last: 'b'",
        "find: 'k'",
        "has: 'k'",
        "at_most: 3",
    ]);
    let statement =
        (start, proptest::collection::vec(filter, 0..6), any::<bool>()).prop_map(|(start, filters, assigns)| {
            let chain = std::iter::once(start).chain(filters).collect::<Vec<_>>().join(" | ");
            if assigns { format!("{{% assign x = {chain} %}}") } else { format!("{{{{ {chain} }}}}") }
        });
    proptest::collection::vec(statement, 1..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn nothing_panics_and_the_limits_hold(source in soup()) {
        if let Ok(out) = render(&source, SMALL) {
            prop_assert!(out.len() <= SMALL.output_bytes, "{}", out.len());
        }
    }

    #[test]
    fn no_filter_panics(source in stew()) {
        if let Ok(out) = render(&source, SMALL) {
            prop_assert!(out.len() <= SMALL.output_bytes, "{}", out.len());
        }
    }

    #[test]
    fn any_text_without_braces_is_itself(text in "[^{]{0,200}") {
        prop_assert_eq!(render(&text, SMALL), Ok(text));
    }
}
