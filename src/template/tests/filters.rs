//! Shopify's standard filters.

use super::{check, check_errors};

#[test]
fn text() {
    check(
        "D-TPL-02",
        &[
            ("{{ 'a' | append: 'b' }}{{ 5 | append: 1 }}{{ absent | append: 'x' }}", "ab51x"),
            ("{{ 'b' | prepend: 'a' }}", "ab"),
            ("{{ 'tITLE case' | capitalize }}", "Title case"),
            ("{{ 'Parker Moore' | downcase }}{{ 'é' | upcase }}", "parker mooreÉ"),
            ("{{ absent | upcase }}{{ absent | capitalize }}", ""),
            ("[{{ '  a b ' | strip }}][{{ '  a ' | lstrip }}][{{ ' a  ' | rstrip }}]", "[a b][a ][ a]"),
            ("{{ 'a\nb' | newline_to_br }}", "a<br />\nb"),
            ("{{ 'a\n\r\nb' | strip_newlines }}", "ab"),
            ("{{ 'Take my my' | replace: 'my', 'your' }}", "Take your your"),
            ("{{ 'Take my my' | replace_first: 'my', 'your' }}", "Take your my"),
            ("{{ 'Take my my' | replace_last: 'my', 'your' }}", "Take my your"),
            ("{{ 'a1b1' | replace: 1, 2 }}", "a2b2"),
            ("{{ 'ab' | replace: '', '-' }}", "-a-b-"),
            ("{{ 'I strained' | remove: 'strain' }}", "I ed"),
            ("{{ 'rain rain' | remove_first: 'rain' }}|{{ 'rain rain' | remove_last: 'rain' }}", " rain|rain "),
            ("{{ 'Ground control to Major Tom.' | truncate: 20 }}", "Ground control to..."),
            ("{{ 'Ground control to Major Tom.' | truncate: 25, ', and so on' }}", "Ground control, and so on"),
            ("{{ 'Ground control to Major Tom.' | truncate: 20, '' }}", "Ground control to Ma"),
            ("{{ 'abc' | truncate: 3 }}{{ 'abcdef' | truncate: 2 }}", "abc..."),
            ("{{ absent | truncate }}", ""),
            ("{{ 'Ground control to Major Tom.' | truncatewords: 3 }}", "Ground control to..."),
            ("{{ 'Ground control to Major Tom.' | truncatewords: 3, '--' }}", "Ground control to--"),
            ("{{ 'Ground control to Major Tom.' | truncatewords: 3, '' }}", "Ground control to"),
            ("{{ 'a b' | truncatewords: 3 }}{{ 'a b c' | truncatewords: 0 }}", "a ba..."),
            ("{{ 'Liquid' | slice: 0 }}{{ 'Liquid' | slice: 2 }}{{ 'Liquid' | slice: 2, 5 }}", "Lqquid"),
            ("{{ 'Liquid' | slice: -3, 2 }}|{{ 'Liquid' | slice: 9 }}|{{ 'Liquid' | slice: -9 }}", "ui||"),
            ("{{ 'a,b,,' | split: ',' | join: '-' }}", "a-b"),
            ("{{ ' a  b ' | split: ' ' | join: '-' }}", "a-b"),
            ("{{ 'abc' | split: '' | join: ' ' }}", "a b c"),
            ("{{ '' | split: ',' | size }}{{ absent | split: ',' | size }}", "00"),
            ("{{ ',a' | split: ',' | size }}", "2"),
            ("{{ 'John, Paul' | split: ', ' | first }}", "John"),
            ("{{ 'été' | size }}{{ absent | size }}{{ nums | size }}", "303"),
            ("{{ 'a<br>b<!-- c --><script>x</script>d<style>e</style>' | strip_html }}", "abd"),
            ("{{ 'Have <em>you</em> read' | strip_html }}", "Have you read"),
            ("{{ '1 < 2' | strip_html }}", "1 < 2"),
        ],
    );
}

#[test]
fn encodings() {
    check(
        "D-TPL-02 D-TPL-101",
        &[
            ("{{ html | escape }}", "&lt;p&gt;Hi &amp; &lt;b&gt;you&lt;/b&gt;&lt;/p&gt;"),
            ("{{ html }}", "<p>Hi & <b>you</b></p>"),
            ("{{ odd | escape }}", "it&#39;s &quot;odd&quot;"),
            ("{{ '1 < 2 &amp; 3 & &#39; &x' | escape_once }}", "1 &lt; 2 &amp; 3 &amp; &#39; &amp;x"),
            ("{{ '<' | h }}{{ absent | escape }}", "&lt;"),
            ("{{ 'john@liquid.com a&b' | url_encode }}", "john%40liquid.com+a%26b"),
            ("{{ 'é-_.~' | url_encode }}{{ absent | url_encode }}{{ 5 | url_encode }}", "%C3%A9-_.~5"),
            ("{{ '%27Stop%21%27+said+Fred' | url_decode }}", "'Stop!' said Fred"),
            ("{{ '100%' | url_decode }}", "100%"),
            ("{{ 'one two' | base64_encode }}", "b25lIHR3bw=="),
            ("{{ 'b25lIHR3bw==' | base64_decode }}{{ 'b25lIHR3bw' | base64_decode }}", "one twoone two"),
            ("{{ '??>' | base64_url_safe_encode }}", "Pz8-"),
            ("{{ 'Pz8-' | base64_url_safe_decode }}", "??>"),
        ],
    );
    check_errors(
        "D-AMB-20",
        &[
            ("{{ '@@@' | base64_decode }}", "line 1: `base64_decode`: the text is not base64."),
            ("{{ '%ff' | url_decode }}", "line 1: `url_decode`: what was decoded is not text."),
        ],
    );
}

#[test]
fn numbers() {
    check(
        "D-TPL-02",
        &[
            ("{{ 4 | plus: 2 }}{{ 183.357 | plus: 12 }}", "6195.357"),
            ("{{ 4 | minus: 2 }} {{ 183.357 | minus: 12 }}", "2 171.357"),
            ("{{ 3 | times: 2 }} {{ 183.357 | times: 12 }}", "6 2200.284"),
            ("{{ 0.1 | plus: 0.2 }}", "0.3"),
            ("{{ '3' | plus: '4' }}{{ '3.5' | plus: 1 }}", "74.5"),
            ("{{ digits | plus: 1 }}{{ 'x' | plus: 1 }}{{ absent | plus: 1 }}", "1111"),
            ("{{ 16 | divided_by: 4 }} {{ 5 | divided_by: 3 }} {{ -5 | divided_by: 3 }}", "4 1 -2"),
            ("{{ 20 | divided_by: 7.0 }}", "2.857142857142857"),
            ("{{ 3.0 | times: 1 }} {{ 10.0 | divided_by: 2 }}", "3.0 5.0"),
            ("{{ 3 | modulo: 2 }} {{ -3 | modulo: 2 }} {{ 183.357 | modulo: 12 }}", "1 1 3.357"),
            ("{{ -17 | abs }}{{ '-19.86' | abs }}", "1719.86"),
            ("{{ 1.2 | ceil }}{{ 2.0 | ceil }}{{ '3.5' | ceil }}", "224"),
            ("{{ 1.8 | floor }} {{ -1.2 | floor }}", "1 -2"),
            ("{{ 1.2 | round }}{{ 2.7 | round }}{{ 2.5 | round }} {{ -2.5 | round }}", "133 -3"),
            (
                "{{ 183.357 | round: 2 }} {{ 1.005 | round: 2 }} {{ 5 | round: 2 }} {{ 3.14 | round: 0 }}",
                "183.36 1.01 5 3",
            ),
            ("{{ 5.666 | round: -2 }} {{ 1234 | round: -2 }}", "0 1200"),
            ("{{ 4 | at_least: 5 }}{{ 4 | at_least: 3 }}{{ 4 | at_most: 3 }}{{ 4 | at_most: 5 }}", "5434"),
            ("{{ 4 | at_least: 4.5 }}", "4.5"),
            ("{{ 9223372036854775807 | plus: 1 }}", "9.223372036854776e+18"),
            ("{{ 1 | plus: 1 | times: 3 | minus: 1 }}", "5"),
            ("{{ pi | round: 2 | times: 100 }}", "314.0"),
        ],
    );
}

#[test]
fn lists() {
    check(
        "D-TPL-02",
        &[
            ("{{ nums | join: ', ' }}{{ nums | join }}", "3, 1, 23 1 2"),
            ("{{ nums | sort | join }}", "1 2 3"),
            ("{{ words | sort | join }} {{ words | sort_natural | join }}", "C a b a b C"),
            ("{{ people | sort: 'age' | map: 'age' | join }}", "1 20 30 30"),
            ("{{ people | sort: 'name' | map: 'name' | join: '-' }}", "Bo-Cy-al-"),
            ("{{ people | sort_natural: 'name' | map: 'name' | join: '-' }}", "al-Bo-Cy-"),
            ("{{ nums | reverse | join }}", "2 1 3"),
            ("{{ nums | first }}{{ nums | last }}{{ none | first }}", "32"),
            ("{{ nums | concat: words | join }}", "3 1 2 b a C"),
            ("{{ 'a' | concat: words | join }}", "a b a C"),
            ("{{ 'a,b,a' | split: ',' | uniq | join }}", "a b"),
            ("{{ people | uniq: 'age' | map: 'name' | join }}", "Bo al "),
            ("{{ people | map: 'name' | compact | join }}", "Bo al Cy"),
            ("{{ people | compact: 'name' | size }}", "3"),
            ("{{ people | where: 'age', 30 | map: 'name' | join }}", "Bo Cy"),
            ("{{ people | where: 'active' | map: 'name' | join }}", "Bo"),
            ("{{ people | where: 'active', false | map: 'name' | join }}", "al"),
            ("{{ people | reject: 'active' | map: 'age' | join }}", "20 30 1"),
            ("{{ people | reject: 'age', 30 | map: 'age' | join }}", "20 1"),
            ("{% assign p = people | find: 'age', 20 %}{{ p.name }}", "al"),
            ("{{ people | find_index: 'age', 20 }}{{ people | find_index: 'age', 99 }}", "1"),
            ("{{ people | has: 'age', 20 }}{{ people | has: 'age', 99 }}{{ people | has: 'active' }}", "truefalsetrue"),
            ("{{ nums | sum }} {{ floats | sum }} {{ people | sum: 'age' }} {{ none | sum }}", "6 6.5 81 0"),
            ("{{ matrix | sum }}", "10"),
            ("{{ nums | slice: 1, 2 | join }} {{ nums | slice: -2, 1 | join }}", "1 2 1"),
            ("{{ (1..3) | join }}{{ (1..3) | reverse | first }}", "1 2 33"),
            (
                "{{ words | find: 'a' }}{{ words | find_index: 'C' }}{{ words | has: 'z' }}{{ words | reject: 'b' | join }}",
                "a2falsea C",
            ),
            ("{{ nums | join: absent }}", "312"),
            ("{{ absent | join }}{{ absent | sort | size }}{{ absent | map: 'x' | size }}", "00"),
            ("{{ user | map: 'name' | join }}", "Grace"),
            ("{{ people | map: 'nope' | size }}", "4"),
            ("{{ matrix | concat: matrix | size }}", "8"),
            (
                "{{ absent | default: 'x' }}{{ '' | default: 'x' }}{{ none | default: 'x' }}{{ false | default: 'x' }}",
                "xxxx",
            ),
            ("{{ name | default: 'x' }}{{ 0 | default: 'x' }}{{ space | default: 'x' }}", "Ada0  "),
            ("{{ false | default: 'x', allow_false: true }}{{ nil | default: 'x', allow_false: true }}", "falsex"),
            ("{{ absent | default: user.name }}", "Grace"),
        ],
    );
    check_errors(
        "D-AMB-20",
        &[
            ("{{ nums | concat: 'a' }}", "line 1: `concat`: a list is needed to add to a list."),
            ("{{ name | slice: 'x' }}", "line 1: `slice`: `x` is not a number."),
            ("{% for i in nums limit: 'x' %}{% endfor %}", "line 1: `x` is not a number."),
        ],
    );
}

#[test]
fn dates() {
    check(
        "D-TPL-02 D-TPL-12 D-AMB-22",
        &[
            ("{{ at | date: '%Y-%m-%d' }}", "2024-01-01"),
            ("{{ at | date: '%a, %b %d, %y' }}", "Mon, Jan 01, 24"),
            ("{{ 'March 14, 2016' | date: '%b %d, %y' }}", "Mar 14, 16"),
            ("{{ 1152098955 | date: '%m/%d/%Y' }}{{ '1152098955' | date: ' %H' }}", "07/05/2006 11"),
            ("{{ 'now' | date: '%Y-%m-%d %H:%M' }}", "2023-11-14 22:13"),
            ("{{ 'today' | date: '%s' }}", "1700000000"),
            ("{{ at | date: '' }}|{{ at | date: absent }}", "2024-01-01T00:30:00Z|2024-01-01T00:30:00Z"),
            ("{{ 'soon' | date: '%Y' }}{{ absent | date: '%Y' }}", "soon"),
            ("{{ at | date: '%e|%l' }}", " 1|12"),
            ("{{ '2024-01-01T00:30:00+05:00' | date: '%H:%M %z' }}", "00:30 +0500"),
            ("{{ '2024-01-15T19:30:00Z' | date: '%-I:%M %p %Z', 'America/New_York' }}", "2:30 PM EST"),
            ("{{ '2024-07-15T18:30:00Z' | date: '%-I:%M %p %Z', 'America/New_York' }}", "2:30 PM EDT"),
            ("{{ at | date: '%H', absent }}", "00"),
        ],
    );
    check_errors(
        "D-AMB-20",
        &[("{{ at | date: '%H', 'Mars/Base' }}", "line 1: `date`: there is no time zone `Mars/Base`.")],
    );
}
