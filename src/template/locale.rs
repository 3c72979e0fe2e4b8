//! How languages write dates, times, numbers and amounts: a small table after CLDR 45 (D-TPL-13..16, D-TPL-21).
//!
//! A tag is looked up whole, then by its language: `de-DE` is `de`, `fr_CA` is `fr`. Languages that are listed in
//! [`FIGURES`] only write their numbers in their own way and their dates as ISO 8601 (`2023-12-31`, `14:30`); a
//! language that is listed nowhere writes numbers as English does.

use super::instant::{DAYS, Instant, MONTHS};

/// The four lengths of a date or a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    Short,
    Medium,
    Long,
    Full,
}

impl Length {
    pub(crate) fn of(name: &str) -> Option<Length> {
        Some(match name {
            "short" => Length::Short,
            "medium" => Length::Medium,
            "long" => Length::Long,
            "full" => Length::Full,
            _ => return None,
        })
    }
}

/// How one language writes dates and times.
struct Calendar {
    /// The language, or the language with its region or script.
    tag: &'static str,
    /// From short to full, in CLDR's letters.
    dates: [&'static str; 4],
    /// Hours and minutes, without and with seconds.
    times: [&'static str; 2],
    months: [&'static str; 12],
    short_months: [&'static str; 12],
    days: [&'static str; 7],
    halves: [&'static str; 2],
    /// What stands between a date and a time.
    glue: &'static str,
}

const SHORT_MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const CLOCK: [&str; 2] = ["HH:mm", "HH:mm:ss"];
const NUMBERED: [&str; 12] = ["1月", "2月", "3月", "4月", "5月", "6月", "7月", "8月", "9月", "10月", "11月", "12月"];

const ENGLISH: Calendar = Calendar {
    tag: "en",
    dates: ["M/d/yy", "MMM d, y", "MMMM d, y", "EEEE, MMMM d, y"],
    times: ["h:mm a", "h:mm:ss a"],
    months: MONTHS,
    short_months: SHORT_MONTHS,
    days: DAYS,
    halves: ["AM", "PM"],
    glue: ", ",
};

/// What is not in the table: ISO 8601.
const ISO: Calendar = Calendar { tag: "", dates: ["y-MM-dd"; 4], times: CLOCK, ..ENGLISH };

const CALENDARS: [Calendar; 20] = [
    ENGLISH,
    Calendar {
        tag: "en-gb",
        dates: ["dd/MM/y", "d MMM y", "d MMMM y", "EEEE, d MMMM y"],
        times: CLOCK,
        short_months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec"],
        ..ENGLISH
    },
    Calendar {
        tag: "de",
        dates: ["dd.MM.yy", "dd.MM.y", "d. MMMM y", "EEEE, d. MMMM y"],
        times: CLOCK,
        months: [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
        short_months: ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."],
        days: ["Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"],
        ..ENGLISH
    },
    Calendar {
        tag: "fr",
        dates: ["dd/MM/y", "d MMM y", "d MMMM y", "EEEE d MMMM y"],
        times: CLOCK,
        months: [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
        short_months: [
            "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.",
        ],
        days: ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        glue: " ",
        ..ENGLISH
    },
    Calendar {
        tag: "es",
        dates: ["d/M/yy", "d MMM y", "d 'de' MMMM 'de' y", "EEEE, d 'de' MMMM 'de' y"],
        times: ["H:mm", "H:mm:ss"],
        months: [
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ],
        short_months: ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"],
        days: ["domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"],
        ..ENGLISH
    },
    Calendar {
        tag: "it",
        dates: ["dd/MM/yy", "d MMM y", "d MMMM y", "EEEE d MMMM y"],
        times: CLOCK,
        months: [
            "gennaio",
            "febbraio",
            "marzo",
            "aprile",
            "maggio",
            "giugno",
            "luglio",
            "agosto",
            "settembre",
            "ottobre",
            "novembre",
            "dicembre",
        ],
        short_months: ["gen", "feb", "mar", "apr", "mag", "giu", "lug", "ago", "set", "ott", "nov", "dic"],
        days: ["domenica", "lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato"],
        ..ENGLISH
    },
    Calendar {
        tag: "pt",
        dates: ["dd/MM/y", "d 'de' MMM 'de' y", "d 'de' MMMM 'de' y", "EEEE, d 'de' MMMM 'de' y"],
        times: CLOCK,
        months: [
            "janeiro",
            "fevereiro",
            "março",
            "abril",
            "maio",
            "junho",
            "julho",
            "agosto",
            "setembro",
            "outubro",
            "novembro",
            "dezembro",
        ],
        short_months: ["jan.", "fev.", "mar.", "abr.", "mai.", "jun.", "jul.", "ago.", "set.", "out.", "nov.", "dez."],
        days: ["domingo", "segunda-feira", "terça-feira", "quarta-feira", "quinta-feira", "sexta-feira", "sábado"],
        ..ENGLISH
    },
    Calendar {
        tag: "nl",
        dates: ["dd-MM-y", "d MMM y", "d MMMM y", "EEEE d MMMM y"],
        times: CLOCK,
        months: [
            "januari",
            "februari",
            "maart",
            "april",
            "mei",
            "juni",
            "juli",
            "augustus",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec"],
        days: ["zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"],
        glue: " ",
        ..ENGLISH
    },
    Calendar {
        tag: "sv",
        dates: ["y-MM-dd", "d MMM y", "d MMMM y", "EEEE d MMMM y"],
        times: CLOCK,
        months: [
            "januari",
            "februari",
            "mars",
            "april",
            "maj",
            "juni",
            "juli",
            "augusti",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan.", "feb.", "mars", "apr.", "maj", "juni", "juli", "aug.", "sep.", "okt.", "nov.", "dec."],
        days: ["söndag", "måndag", "tisdag", "onsdag", "torsdag", "fredag", "lördag"],
        glue: " ",
        ..ENGLISH
    },
    Calendar {
        tag: "da",
        dates: ["dd.MM.y", "d. MMM y", "d. MMMM y", "EEEE 'den' d. MMMM y"],
        times: ["HH.mm", "HH.mm.ss"],
        months: [
            "januar",
            "februar",
            "marts",
            "april",
            "maj",
            "juni",
            "juli",
            "august",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan.", "feb.", "mar.", "apr.", "maj", "jun.", "jul.", "aug.", "sep.", "okt.", "nov.", "dec."],
        days: ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"],
        glue: " ",
        ..ENGLISH
    },
    NORWEGIAN,
    Calendar { tag: "no", ..NORWEGIAN },
    Calendar {
        tag: "fi",
        dates: ["d.M.y", "d.M.y", "d. MMMM y", "EEEE d. MMMM y"],
        times: ["H.mm", "H.mm.ss"],
        months: [
            "tammikuuta",
            "helmikuuta",
            "maaliskuuta",
            "huhtikuuta",
            "toukokuuta",
            "kesäkuuta",
            "heinäkuuta",
            "elokuuta",
            "syyskuuta",
            "lokakuuta",
            "marraskuuta",
            "joulukuuta",
        ],
        days: ["sunnuntai", "maanantai", "tiistai", "keskiviikko", "torstai", "perjantai", "lauantai"],
        glue: " klo ",
        ..ENGLISH
    },
    Calendar {
        tag: "pl",
        dates: ["d.MM.y", "d MMM y", "d MMMM y", "EEEE, d MMMM y"],
        times: CLOCK,
        months: [
            "stycznia",
            "lutego",
            "marca",
            "kwietnia",
            "maja",
            "czerwca",
            "lipca",
            "sierpnia",
            "września",
            "października",
            "listopada",
            "grudnia",
        ],
        short_months: ["sty", "lut", "mar", "kwi", "maj", "cze", "lip", "sie", "wrz", "paź", "lis", "gru"],
        days: ["niedziela", "poniedziałek", "wtorek", "środa", "czwartek", "piątek", "sobota"],
        ..ENGLISH
    },
    Calendar {
        tag: "ja",
        dates: ["y/MM/dd", "y/MM/dd", "y年M月d日", "y年M月d日EEEE"],
        times: ["H:mm", "H:mm:ss"],
        months: NUMBERED,
        short_months: NUMBERED,
        days: ["日曜日", "月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日"],
        glue: " ",
        ..ENGLISH
    },
    CHINESE,
    Calendar {
        tag: "zh-hant",
        dates: ["y/M/d", "y年M月d日", "y年M月d日", "y年M月d日 EEEE"],
        times: ["ah:mm", "ah:mm:ss"],
        halves: ["上午", "下午"],
        ..CHINESE
    },
    Calendar {
        tag: "zh-tw",
        dates: ["y/M/d", "y年M月d日", "y年M月d日", "y年M月d日 EEEE"],
        times: ["ah:mm", "ah:mm:ss"],
        halves: ["上午", "下午"],
        ..CHINESE
    },
    Calendar {
        tag: "ko",
        dates: ["yy. M. d.", "y. M. d.", "y년 M월 d일", "y년 M월 d일 EEEE"],
        times: ["a h:mm", "a h:mm:ss"],
        days: ["일요일", "월요일", "화요일", "수요일", "목요일", "금요일", "토요일"],
        halves: ["오전", "오후"],
        glue: " ",
        ..ENGLISH
    },
    Calendar {
        tag: "ru",
        dates: ["dd.MM.y", "d MMM y 'г'.", "d MMMM y 'г'.", "EEEE, d MMMM y 'г'."],
        times: CLOCK,
        months: [
            "января",
            "февраля",
            "марта",
            "апреля",
            "мая",
            "июня",
            "июля",
            "августа",
            "сентября",
            "октября",
            "ноября",
            "декабря",
        ],
        short_months: [
            "янв.",
            "февр.",
            "мар.",
            "апр.",
            "мая",
            "июн.",
            "июл.",
            "авг.",
            "сент.",
            "окт.",
            "нояб.",
            "дек.",
        ],
        days: ["воскресенье", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота"],
        ..ENGLISH
    },
];

const NORWEGIAN: Calendar = Calendar {
    tag: "nb",
    dates: ["dd.MM.y", "d. MMM y", "d. MMMM y", "EEEE d. MMMM y"],
    times: CLOCK,
    months: [
        "januar",
        "februar",
        "mars",
        "april",
        "mai",
        "juni",
        "juli",
        "august",
        "september",
        "oktober",
        "november",
        "desember",
    ],
    short_months: ["jan.", "feb.", "mars", "apr.", "mai", "juni", "juli", "aug.", "sep.", "okt.", "nov.", "des."],
    days: ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"],
    ..ENGLISH
};

const CHINESE: Calendar = Calendar {
    tag: "zh",
    dates: ["y/M/d", "y年M月d日", "y年M月d日", "y年M月d日EEEE"],
    times: CLOCK,
    months: NUMBERED,
    short_months: NUMBERED,
    days: ["星期日", "星期一", "星期二", "星期三", "星期四", "星期五", "星期六"],
    glue: " ",
    ..ENGLISH
};

/// How languages write numbers: languages, decimal mark, mark between groups, where the currency stands.
struct Figures {
    tags: &'static [&'static str],
    decimal: &'static str,
    group: &'static str,
    /// Groups of two above the thousands (1,00,000).
    is_indian: bool,
    /// Whether four digits stay together (1234 but 12.345).
    keeps_four: bool,
    currency: Placement,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// `$10`
    Before,
    /// `€ 10`
    BeforeSpaced,
    /// `10 €`
    After,
}

const POINT: Figures = Figures {
    tags: &["en"],
    decimal: ".",
    group: ",",
    is_indian: false,
    keeps_four: false,
    currency: Placement::Before,
};
const COMMA: Figures = Figures { tags: &[], decimal: ",", group: ".", currency: Placement::After, ..POINT };
const SPACE: Figures = Figures { tags: &[], group: "\u{a0}", ..COMMA };

const FIGURES: [Figures; 11] = [
    Figures { tags: &["ja", "zh", "ko", "he", "th", "mn"], ..POINT },
    Figures { tags: &["es-419"], ..POINT },
    Figures { tags: &["hi", "bn", "ta", "te", "ml", "kn", "ur"], is_indian: true, ..POINT },
    Figures { tags: &["de", "it", "da", "el", "ro", "hr", "bs", "sr", "sl", "is", "vi", "gl", "mk", "sq"], ..COMMA },
    Figures { tags: &["es", "ca", "eu"], keeps_four: true, ..COMMA },
    Figures { tags: &["nl", "pt", "id", "lb"], currency: Placement::BeforeSpaced, ..COMMA },
    Figures { tags: &["tr"], currency: Placement::Before, ..COMMA },
    Figures { tags: &["fr"], group: "\u{202f}", ..SPACE },
    Figures { tags: &["pl", "bg", "et", "lv"], keeps_four: true, ..SPACE },
    Figures {
        tags: &["sv", "nb", "no", "nn", "fi", "ru", "uk", "be", "cs", "sk", "hu", "lt", "eo", "ka", "az"],
        ..SPACE
    },
    Figures { tags: &["af"], currency: Placement::Before, ..SPACE },
];

/// Currencies: code, sign, and the language that writes it so (or "" for all); others are written by their code.
const CURRENCIES: [(&str, &str, &str); 39] = [
    ("USD", "$", ""),
    ("EUR", "€", ""),
    ("GBP", "£", ""),
    ("JPY", "￥", "ja"),
    ("JPY", "¥", ""),
    ("CNY", "¥", "zh"),
    ("CNY", "CN¥", ""),
    ("INR", "₹", ""),
    ("KRW", "₩", ""),
    ("BRL", "R$", ""),
    ("CAD", "CA$", ""),
    ("AUD", "A$", ""),
    ("NZD", "NZ$", ""),
    ("HKD", "HK$", ""),
    ("TWD", "NT$", ""),
    ("MXN", "MX$", ""),
    ("ILS", "₪", ""),
    ("VND", "₫", ""),
    ("PHP", "₱", ""),
    ("XAF", "FCFA", ""),
    ("XOF", "F\u{202f}CFA", ""),
    ("XPF", "CFPF", ""),
    ("XCD", "EC$", ""),
    ("SEK", "kr", "sv"),
    ("NOK", "kr", "nb"),
    ("NOK", "kr", "no"),
    ("DKK", "kr.", "da"),
    ("PLN", "zł", "pl"),
    ("RUB", "₽", "ru"),
    ("UAH", "₴", "uk"),
    ("CZK", "Kč", "cs"),
    ("HUF", "Ft", "hu"),
    ("TRY", "₺", "tr"),
    ("RON", "RON", ""),
    ("THB", "฿", "th"),
    ("IDR", "Rp", "id"),
    ("BGN", "лв.", "bg"),
    ("ZAR", "R", "af"),
    ("GEL", "₾", "ka"),
];
/// Currencies without cents.
const WHOLE_CURRENCIES: [&str; 12] =
    ["JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF", "XPF", "RWF", "KMF"];

/// A locale by its tag.
pub(crate) struct Locale {
    language: String,
    calendar: &'static Calendar,
    figures: &'static Figures,
}

impl Locale {
    /// The locale for a tag such as `de`, `en-GB` or `fr_ca`.
    pub(crate) fn of(tag: &str) -> Locale {
        let tag = tag.trim().replace('_', "-").to_ascii_lowercase();
        let language = tag.split('-').next().unwrap_or_default().to_owned();
        let candidates = [tag.as_str(), language.as_str()];
        let calendar = candidates.iter().find_map(|tag| CALENDARS.iter().find(|known| known.tag == *tag));
        let figures = candidates.iter().find_map(|tag| FIGURES.iter().find(|known| known.tags.contains(tag)));
        Locale { calendar: calendar.unwrap_or(&ISO), figures: figures.unwrap_or(&POINT), language }
    }

    /// A date (D-TPL-13).
    pub(crate) fn date(&self, at: &Instant, length: Length) -> String {
        let mut out = String::new();
        self.print(self.calendar.dates[length as usize], at, &mut out);
        out
    }

    /// A date and a time (D-TPL-14).
    pub(crate) fn datetime(&self, at: &Instant, date: Length, time: Length) -> String {
        let mut out = self.date(at, date);
        out.push_str(self.calendar.glue);
        self.print(self.calendar.times[usize::from(time != Length::Short)], at, &mut out);
        match time {
            Length::Long => out.push_str(&format!(" {}", zone(at, "UTC"))),
            Length::Full => out.push_str(&format!(" {}", zone(at, "Coordinated Universal Time"))),
            _ => {}
        }
        out
    }

    /// Prints by a CLDR pattern: letters in runs, text in quotes.
    fn print(&self, pattern: &str, at: &Instant, out: &mut String) {
        let mut is_quoted = false;
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            let run = rest.chars().take_while(|next| *next == c).count();
            let is_field = !is_quoted && self.field(c, run, at, out);
            if c == '\'' {
                is_quoted = !is_quoted;
            } else if !is_field {
                (0..run).for_each(|_| out.push(c));
            }
            rest = &rest[if c == '\'' { 1 } else { run * c.len_utf8() }..];
        }
    }

    fn field(&self, letter: char, run: usize, at: &Instant, out: &mut String) -> bool {
        let calendar = self.calendar;
        let month = usize::from(at.civil.month().unsigned_abs());
        let number = |n: i64| format!("{n:0run$}");
        let text = match (letter, run) {
            ('y', 2) => format!("{:02}", at.civil.year().rem_euclid(100)),
            ('y', _) => at.civil.year().to_string(),
            ('M', 4) => calendar.months[month - 1].to_owned(),
            ('M', 3) => calendar.short_months[month - 1].to_owned(),
            ('M', _) => number(month as i64),
            ('d', _) => number(at.civil.day().into()),
            ('E', _) => calendar.days[at.day_of_week()].to_owned(),
            ('H', _) => number(at.civil.hour().into()),
            ('h', _) => number(at.hour12()),
            ('m', _) => number(at.civil.minute().into()),
            ('s', _) => number(at.civil.second().into()),
            ('a', _) => calendar.halves[usize::from(at.civil.hour() >= 12)].to_owned(),
            _ => return false,
        };
        out.push_str(&text);
        true
    }

    /// A number with at most three digits behind the decimal mark (D-TPL-15).
    pub(crate) fn number(&self, n: f64) -> String {
        let text = fixed(n.abs(), 3);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        self.signed(n, self.grouped(text))
    }

    /// An amount of money (D-TPL-16); `rounded` leaves out what is behind the decimal mark.
    pub(crate) fn currency(&self, n: f64, code: &str, rounded: bool) -> String {
        let code = code.trim().to_ascii_uppercase();
        let digits = if rounded || WHOLE_CURRENCIES.contains(&code.as_str()) { 0 } else { 2 };
        let figures = self.grouped(&fixed(n.abs(), digits));
        let sign = CURRENCIES
            .iter()
            .find(|(known, _, language)| *known == code && (language.is_empty() || *language == self.language))
            .map_or(code.as_str(), |(_, sign, _)| sign);
        let amount = match self.figures.currency {
            Placement::Before if sign.ends_with(char::is_alphabetic) => format!("{sign}\u{a0}{figures}"),
            Placement::Before => format!("{sign}{figures}"),
            Placement::BeforeSpaced => format!("{sign}\u{a0}{figures}"),
            Placement::After => format!("{figures}\u{a0}{sign}"),
        };
        self.signed(n, amount)
    }

    fn signed(&self, n: f64, text: String) -> String {
        match n < 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) {
            true => format!("-{text}"),
            false => text,
        }
    }

    /// Puts the marks of the language into `1234.5`.
    fn grouped(&self, text: &str) -> String {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let keeps = self.figures.keeps_four && whole.len() <= 4;
        let mut out = String::with_capacity(text.len() + 8);
        for (at, digit) in whole.chars().enumerate() {
            let left = whole.len() - at;
            let is_border = match self.figures.is_indian {
                true => left == 3 || left > 3 && (left - 3).is_multiple_of(2),
                false => left.is_multiple_of(3),
            };
            if at > 0 && is_border && !keeps && whole.is_ascii() {
                out.push_str(self.figures.group);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push_str(self.figures.decimal);
            out.push_str(fraction);
        }
        out
    }
}

/// `n` with `digits` behind the point, halves rounded away from zero as the number is written (0.125 is 0.13).
fn fixed(n: f64, digits: usize) -> String {
    let written = n.to_string();
    let is_half = written.split_once('.').is_some_and(|(_, rest)| rest.len() == digits + 1 && rest.ends_with('5'));
    match is_half {
        true => format!("{:.digits$}", format!("{}6", &written[..written.len() - 1]).parse().unwrap_or(n)),
        false => format!("{n:.digits$}"),
    }
}

/// The zone of a time: UTC by `name`, others as `GMT-5`.
fn zone(at: &Instant, name: &str) -> String {
    let seconds = at.offset.seconds();
    if seconds == 0 {
        return name.to_owned();
    }
    let (sign, hours, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match minutes {
        0 => format!("GMT{sign}{hours}"),
        _ => format!("GMT{sign}{hours}:{minutes:02}"),
    }
}
