//! The filters: Shopify's standard ones and Knock's (D-TPL-02, D-TPL-11..19).

use super::{
    decimal,
    run::Run,
    value::{Problem, Val},
};

mod encode;
mod entity;
mod list;
mod number;
mod text;
mod time;

/// A filter: its name, how it may be called, what it does.
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    least: usize,
    most: usize,
    /// The named arguments it knows; `*` stands for any.
    labels: &'static [&'static str],
    pub(crate) apply: Apply,
}

type Apply = for<'r> fn(&mut Run<'r>, Val<'r>, &Args<'r>) -> Made<'r>;

/// What a filter makes.
pub(crate) type Made<'r> = Result<Val<'r>, Problem>;

/// The arguments of one call.
#[derive(Default)]
pub(crate) struct Args<'r> {
    pub(crate) positional: Vec<Val<'r>>,
    pub(crate) named: Vec<(&'r str, Val<'r>)>,
}

const NIL: Val<'static> = Val::Nil;

impl<'r> Args<'r> {
    /// The argument at `at`; `nil` when it was not given.
    fn at(&self, at: usize) -> &Val<'r> {
        self.positional.get(at).unwrap_or(&NIL)
    }

    /// The argument at `at`, unless it is absent or `nil`.
    fn given(&self, at: usize) -> Option<&Val<'r>> {
        self.positional.get(at).filter(|value| !value.is_nil())
    }
}

impl<'r> Args<'r> {
    /// The whole number at `at`, if one was given; what is no number is refused (D-AMB-20).
    fn whole(&self, at: usize) -> Result<Option<i64>, Problem> {
        self.given(at).map(decimal::whole).transpose()
    }
}

impl Filter {
    const fn new(name: &'static str, least: usize, most: usize, apply: Apply) -> Self {
        Filter { name, least, most, labels: &[], apply }
    }

    const fn labelled(self, labels: &'static [&'static str]) -> Self {
        Filter { labels, ..self }
    }

    /// Refuses a call with too few or too many arguments.
    pub(crate) fn check<'n>(&self, count: usize, labels: impl Iterator<Item = &'n str>) -> Result<(), String> {
        for label in labels {
            if !self.labels.contains(&"*") && !self.labels.contains(&label) {
                return Err(format!("`{}` has no argument `{label}`.", self.name));
            }
        }
        let wanted = match (self.least, self.most) {
            (least, most) if (least..=most).contains(&count) => return Ok(()),
            (0, 0) => "no arguments".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        };
        Err(format!("`{}` takes {wanted}, not {count}.", self.name))
    }
}

/// The filter called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// All names, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILTERS.iter().map(|filter| filter.name)
}

const FILTERS: &[Filter] = &[
    // text
    Filter::new("append", 1, 1, text::append),
    Filter::new("capitalize", 0, 0, text::capitalize),
    Filter::new("downcase", 0, 0, text::downcase),
    Filter::new("lstrip", 0, 0, text::lstrip),
    Filter::new("newline_to_br", 0, 0, text::newline_to_br),
    Filter::new("pluralize", 2, 2, text::pluralize),
    Filter::new("prepend", 1, 1, text::prepend),
    Filter::new("remove", 1, 1, text::remove),
    Filter::new("remove_first", 1, 1, text::remove_first),
    Filter::new("remove_last", 1, 1, text::remove_last),
    Filter::new("replace", 1, 2, text::replace),
    Filter::new("replace_first", 1, 2, text::replace_first),
    Filter::new("replace_last", 2, 2, text::replace_last),
    Filter::new("rstrip", 0, 0, text::rstrip),
    Filter::new("split", 1, 1, text::split),
    Filter::new("strip", 0, 0, text::strip),
    Filter::new("strip_html", 0, 0, text::strip_html),
    Filter::new("strip_newlines", 0, 0, text::strip_newlines),
    Filter::new("titlecase", 0, 0, text::titlecase),
    Filter::new("truncate", 0, 2, text::truncate),
    Filter::new("truncatewords", 0, 2, text::truncatewords),
    Filter::new("upcase", 0, 0, text::upcase),
    // numbers
    Filter::new("abs", 0, 0, number::abs),
    Filter::new("at_least", 1, 1, number::at_least),
    Filter::new("at_most", 1, 1, number::at_most),
    Filter::new("ceil", 0, 0, number::ceil),
    Filter::new("compare_versions", 1, 1, number::compare_versions),
    Filter::new("currency", 0, 2, number::currency),
    Filter::new("divided_by", 1, 1, number::divided_by),
    Filter::new("floor", 0, 0, number::floor),
    Filter::new("format_number", 0, 1, number::format_number),
    Filter::new("minus", 1, 1, number::minus),
    Filter::new("modulo", 1, 1, number::modulo),
    Filter::new("plus", 1, 1, number::plus),
    Filter::new("round", 0, 1, number::round),
    Filter::new("rounded_currency", 0, 2, number::rounded_currency),
    Filter::new("times", 1, 1, number::times),
    // lists
    Filter::new("compact", 0, 1, list::compact),
    Filter::new("concat", 1, 1, list::concat),
    Filter::new("default", 0, 1, list::default).labelled(&["allow_false"]),
    Filter::new("find", 1, 2, list::find),
    Filter::new("find_index", 1, 2, list::find_index),
    Filter::new("first", 0, 0, list::first),
    Filter::new("has", 1, 2, list::has),
    Filter::new("intersect", 1, 1, list::intersect),
    Filter::new("join", 0, 1, list::join),
    Filter::new("last", 0, 0, list::last),
    Filter::new("map", 1, 1, list::map),
    Filter::new("reject", 1, 2, list::reject),
    Filter::new("reverse", 0, 0, list::reverse),
    Filter::new("size", 0, 0, list::size),
    Filter::new("slice", 1, 2, list::slice),
    Filter::new("sort", 0, 1, list::sort),
    Filter::new("sort_natural", 0, 1, list::sort_natural),
    Filter::new("sum", 0, 1, list::sum),
    Filter::new("uniq", 0, 1, list::uniq),
    Filter::new("where", 1, 2, list::keep),
    // encodings
    Filter::new("base64_decode", 0, 0, encode::base64_decode),
    Filter::new("base64_encode", 0, 0, encode::base64_encode),
    Filter::new("base64_url_safe_decode", 0, 0, encode::base64_url_safe_decode),
    Filter::new("base64_url_safe_encode", 0, 0, encode::base64_url_safe_encode),
    Filter::new("escape", 0, 0, encode::escape),
    Filter::new("escape_once", 0, 0, encode::escape_once),
    Filter::new("from_json", 0, 0, encode::from_json),
    Filter::new("from_markdown", 0, 0, encode::from_markdown),
    Filter::new("h", 0, 0, encode::escape),
    Filter::new("hmac_sha256", 1, 1, encode::hmac_sha256),
    Filter::new("json", 0, 0, encode::json),
    Filter::new("md5", 0, 0, encode::md5),
    Filter::new("sha256", 0, 0, encode::sha256),
    Filter::new("url_decode", 0, 0, encode::url_decode),
    Filter::new("url_encode", 0, 0, encode::url_encode),
    // time
    Filter::new("date", 1, 2, time::date),
    Filter::new("format_date_in_locale", 0, 2, time::format_date_in_locale),
    Filter::new("format_datetime_in_locale", 0, 3, time::format_datetime_in_locale),
    Filter::new("timezone", 1, 1, time::timezone),
    // what is looked up
    Filter::new("object", 1, 1, entity::object),
    Filter::new("subscriptions", 0, 0, entity::subscriptions),
    Filter::new("t", 0, 0, entity::translate).labelled(&["*"]),
    Filter::new("tenant", 0, 0, entity::tenant),
    Filter::new("user", 0, 0, entity::user),
];
