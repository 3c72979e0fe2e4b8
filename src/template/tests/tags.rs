//! Outputs, tags, conditions, loops.

use super::{check, check_errors};

#[test]
fn outputs_and_paths() {
    check(
        "D-TPL-01 D-TPL-05 W-SCP-27",
        &[
            ("", ""),
            ("plain { text } %} }}", "plain { text } %} }}"),
            ("{{ name }}", "Ada"),
            ("{{name}}", "Ada"),
            ("{{ user.name }}", "Grace"),
            ("{{ user.address.city }}", "Rome"),
            ("{{ user['name'] }}", "Grace"),
            ("{{ user[key] }}", "Grace"),
            ("{{ user[\"address\"][\"city\"] }}", "Rome"),
            ("{{ [key] }}", "Ada"),
            ("{{ nums[0] }}{{ nums[-1] }}{{ nums[9] }}{{ nums[-9] }}", "32"),
            ("{{ nums.0 }}{{ matrix.1.0 }}", "33"),
            ("{{ matrix[1][0] }}", "3"),
            ("{{ nums[zero] }}", "3"),
            ("{{ nums.size }}{{ nums.first }}{{ nums.last }}", "332"),
            ("{{ name.size }}", "3"),
            ("{{ map.size }}", "2"),
            ("{{ user.size }}", "99"),
            ("{{ absent }}{{ absent.more }}{{ user.absent.more[0] }}{{ nothing }}", ""),
            ("{{ name.absent }}{{ n.size }}", ""),
            ("{{ 'single' }}{{ \"double\" }}", "singledouble"),
            ("{{ \"it's\" }}", "it's"),
            ("{{ 5 }}{{ -5 }}{{ 2.50 }}{{ 3.0 }}", "5-52.53.0"),
            ("{{ true }}{{ false }}{{ nil }}{{ null }}", "truefalse"),
            ("{{ empty }}{{ blank }}", ""),
            ("{{ half }} {{ pi }}", "2.5 3.14259"),
            ("{{ nums }}", "312"),
            ("{{ matrix }}", "1234"),
            ("{{ map }}", r#"{"a":1,"b":2}"#),
            ("{{ (1..3) }}", "1..3"),
            ("{{ }}", ""),
            ("{{ html }}", "<p>Hi & <b>you</b></p>"),
            ("a\n{{ name }}\nb", "a\nAda\nb"),
            ("{{\n name\n | upcase\n}}", "ADA"),
            ("{{ true.x }}", ""),
        ],
    );
}

#[test]
fn whitespace_control() {
    check(
        "D-TPL-01",
        &[
            ("a {{- name -}} b", "aAdab"),
            ("a {{- name }} b", "aAda b"),
            ("a {{ name -}} b", "a Adab"),
            ("a \n {%- if yes -%} \n x \n {%- endif -%} \n b", "axb"),
            ("{% if yes -%}  x  {%- endif %}", "x"),
            ("a {%- comment -%} x {%- endcomment -%} b", "ab"),
            ("a {%- # note -%} b", "ab"),
            ("a {%- raw -%} {{ x }} {%- endraw -%} b", "a{{ x }}b"),
            ("{%- assign x = 1 -%}\n{{- x -}}\n", "1"),
            ("a{{-}}b", "ab"),
            ("{% for i in (1..2) -%}\n{{ i }}\n{%- endfor %}", "12"),
        ],
    );
}

#[test]
fn blocks_of_nothing_but_whitespace_print_nothing() {
    check(
        "D-TPL-01",
        &[
            ("{% if yes %}  {% endif %}", ""),
            ("{% if yes %} {% assign x = 1 %} {% endif %}{{ x }}", "1"),
            ("{% for i in (1..3) %}  {% endfor %}", ""),
            ("{% if no %} {% else %}x{% endif %}", "x"),
            ("{% if yes %} {% else %}x{% endif %}", " "),
            ("{% unless no %}\n{% endunless %}", ""),
            ("{% case 1 %}{% when 1 %}  {% endcase %}", ""),
            ("{% if yes %} {% if yes %} {% endif %} {% endif %}", ""),
            ("{% capture x %}  {% endcapture %}[{{ x }}]", "[  ]"),
            ("{% if yes %} {% comment %} x {% endcomment %} {% endif %}", ""),
        ],
    );
}

#[test]
fn truth() {
    check(
        "D-TPL-03",
        &[
            ("{% if absent %}y{% else %}n{% endif %}", "n"),
            ("{% if nothing %}y{% else %}n{% endif %}", "n"),
            ("{% if false %}y{% else %}n{% endif %}", "n"),
            ("{% if '' %}y{% else %}n{% endif %}", "y"),
            ("{% if empty_text %}y{% else %}n{% endif %}", "y"),
            ("{% if 0 %}y{% else %}n{% endif %}", "y"),
            ("{% if none %}y{% else %}n{% endif %}", "y"),
            ("{% if empty_text != blank %}y{% else %}n{% endif %}", "n"),
            ("{% if space == blank %}y{% else %}n{% endif %}", "y"),
            ("{% if space == empty %}y{% else %}n{% endif %}", "n"),
            ("{% if name != blank %}y{% else %}n{% endif %}", "y"),
            ("{% if absent == blank %}y{% else %}n{% endif %}", "y"),
            ("{% if no == blank %}y{% else %}n{% endif %}", "y"),
            ("{% if absent == empty %}y{% else %}n{% endif %}", "n"),
            ("{% if none == empty %}y{% else %}n{% endif %}", "y"),
            ("{% if none == blank %}y{% else %}n{% endif %}", "y"),
            ("{% if empty == empty_text %}y{% else %}n{% endif %}", "y"),
            ("{% if absent == nil %}y{% else %}n{% endif %}", "y"),
            ("{% if false == nil %}y{% else %}n{% endif %}", "n"),
            ("{% if blank == empty %}y{% else %}n{% endif %}{% if blank == blank %}y{% endif %}", "ny"),
            ("{% if 0 == blank %}y{% else %}n{% endif %}", "n"),
        ],
    );
}

#[test]
fn comparisons() {
    check(
        "D-TPL-01",
        &[
            ("{% if n == 5 %}y{% endif %}", "y"),
            ("{% if n == 5.0 %}y{% endif %}", "y"),
            ("{% if n == '5' %}y{% else %}n{% endif %}", "n"),
            ("{% if n != 5 %}y{% else %}n{% endif %}", "n"),
            ("{% if n <> 4 %}y{% endif %}", "y"),
            ("{% if n > 4 and n < 6 %}y{% endif %}", "y"),
            ("{% if n >= 5 and n <= 5 %}y{% endif %}", "y"),
            ("{% if half > 2 %}y{% endif %}", "y"),
            ("{% if 'a' < 'b' %}y{% endif %}", "y"),
            ("{% if absent > 1 %}y{% else %}n{% endif %}", "n"),
            ("{% if absent < 1 %}y{% else %}n{% endif %}", "n"),
            ("{% if 'a' > 1 %}y{% else %}n{% endif %}", "n"),
            ("{% if name contains 'd' %}y{% endif %}", "y"),
            ("{% if name contains 'z' %}y{% else %}n{% endif %}", "n"),
            ("{% if words contains 'a' %}y{% endif %}", "y"),
            ("{% if nums contains 2 %}y{% endif %}", "y"),
            ("{% if nums contains '2' %}y{% else %}n{% endif %}", "n"),
            ("{% if map contains 'a' %}y{% endif %}", "y"),
            ("{% if absent contains 'a' %}y{% else %}n{% endif %}", "n"),
            ("{% if name contains absent %}y{% else %}n{% endif %}", "n"),
            ("{% if digits contains 10 %}y{% endif %}", "y"),
            ("{% if matrix[0] == matrix[0] %}y{% endif %}", "y"),
            ("{% if matrix[0] == matrix[1] %}y{% else %}n{% endif %}", "n"),
            ("{% if true or false and false %}y{% else %}n{% endif %}", "y"),
            ("{% if true and false and false or true %}y{% else %}n{% endif %}", "n"),
            ("{% if false and true or true %}y{% else %}n{% endif %}", "n"),
            ("{% if yes == true %}y{% endif %}", "y"),
            ("{% if (1..3) contains 2 %}y{% endif %}", "y"),
        ],
    );
}

#[test]
fn branches() {
    check(
        "D-TPL-01",
        &[
            ("{% if no %}a{% elsif yes %}b{% else %}c{% endif %}", "b"),
            ("{% if no %}a{% elsif no %}b{% else %}c{% endif %}", "c"),
            ("{% if no %}a{% elsif no %}b{% elsif yes %}d{% endif %}", "d"),
            ("{% unless no %}a{% else %}b{% endunless %}", "a"),
            ("{% unless yes %}a{% elsif yes %}b{% endunless %}", "b"),
            ("{% unless yes and no %}a{% endunless %}", "a"),
            ("{% case n %}{% when 4 %}a{% when 5 %}b{% else %}c{% endcase %}", "b"),
            ("{% case n %}{% when 4, 5 %}b{% endcase %}", "b"),
            ("{% case n %}{% when 4 or 5 %}b{% endcase %}", "b"),
            ("{% case n %}{% when 1 or 2, 5 %}b{% endcase %}", "b"),
            ("{% case n %}{% when 1 %}a{% else %}c{% endcase %}", "c"),
            ("{% case n %}{% when 5, 5 %}a{% endcase %}", "aa"),
            ("{% case name %}\n  ignored {% when 'Ada' %}b{% endcase %}", "b"),
            ("{% case n %}{% when 5 %}a{% when 5 %}b{% else %}c{% endcase %}", "ab"),
            ("{% case absent %}{% when nil %}a{% endcase %}", "a"),
            ("{% case empty_text %}{% when blank %}a{% endcase %}", "a"),
            ("{% case key %}{% when user.absent, 'name' %}a{% endcase %}", "a"),
        ],
    );
}

#[test]
fn loops() {
    check(
        "D-TPL-01",
        &[
            ("{% for i in nums %}{{ i }},{% endfor %}", "3,1,2,"),
            ("{% for i in none %}x{% else %}none{% endfor %}", "none"),
            ("{% for i in absent %}x{% else %}none{% endfor %}", "none"),
            ("{% for i in (1..3) %}{{ i }}{% endfor %}", "123"),
            ("{% for i in (one..n) %}{{ i }}{% endfor %}", "12345"),
            ("{% for i in (3..1) %}{{ i }}{% else %}e{% endfor %}", "e"),
            ("{% for i in nums reversed %}{{ i }}{% endfor %}", "213"),
            ("{% for i in (1..5) limit: 2 %}{{ i }}{% endfor %}", "12"),
            ("{% for i in (1..5) offset: 3 %}{{ i }}{% endfor %}", "45"),
            ("{% for i in (1..5) limit:2 offset:1 %}{{ i }}{% endfor %}", "23"),
            ("{% for i in (1..5) reversed limit: 2 %}{{ i }}{% endfor %}", "21"),
            ("{% for i in (1..5) limit: 2, offset: 1, reversed %}{{ i }}{% endfor %}", "32"),
            ("{% for i in (1..5) limit: one %}{{ i }}{% endfor %}", "1"),
            ("{% for i in (1..5) limit: 0 %}{{ i }}{% else %}e{% endfor %}", "e"),
            (
                "{% for i in (1..6) limit: 2 %}{{ i }}{% endfor %}-{% for i in (1..6) limit: 2 offset: continue %}{{ i }}{% endfor %}-{% for i in (1..6) offset: continue %}{{ i }}{% endfor %}",
                "12-34-56",
            ),
            ("{% for i in nums %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "3"),
            ("{% for i in nums %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"),
            ("{% for p in map %}{{ p[0] }}={{ p[1] }};{% endfor %}", "a=1;b=2;"),
            ("{% for p in map %}{{ p.first }}={{ p.last }};{% endfor %}", "a=1;b=2;"),
            ("{% for c in name %}[{{ c }}]{% endfor %}", "[Ada]"),
            ("{% for c in empty_text %}x{% else %}e{% endfor %}", "e"),
            ("{% for c in n %}x{% else %}e{% endfor %}", "e"),
            (
                "{% for i in nums %}{{ forloop.index }}{{ forloop.index0 }}{{ forloop.rindex }}{{ forloop.rindex0 }}{{ forloop.length }} {% endfor %}",
                "10323 21213 32103 ",
            ),
            (
                "{% for i in nums %}{{ forloop.first }}-{{ forloop.last }} {% endfor %}",
                "true-false false-false false-true ",
            ),
            ("{% for i in nums limit: 1 %}{{ forloop.name }}{% endfor %}", "i-nums"),
            (
                "{% for r in matrix %}{% for c in r %}{{ forloop.parentloop.index }}{{ forloop.index }} {% endfor %}{% endfor %}",
                "11 12 21 22 ",
            ),
            ("{% for i in nums limit: 1 %}[{{ forloop.parentloop }}]{% endfor %}", "[]"),
            ("{% for i in nums %}{% endfor %}{{ i }}{{ forloop.index }}", ""),
            ("{% for name in nums %}{{ name }}{% endfor %}{{ name }}", "312Ada"),
            ("{% for i in nums %}{% assign last = i %}{% endfor %}{{ last }}", "2"),
            ("{% for i in matrix %}{% for j in i %}{% break %}{% endfor %}{{ i[0] }}{% endfor %}", "13"),
            ("a{% break %}b", "a"),
            ("a{% continue %}b", "a"),
            ("{% for i in (1..2) %}{% for j in (1..2) %}{{ i }}{{ j }} {% endfor %}{% endfor %}", "11 12 21 22 "),
            ("{% for p in people %}{{ p.name }}{% unless forloop.last %}, {% endunless %}{% endfor %}", "Bo, al, Cy, "),
        ],
    );
}

#[test]
fn tables() {
    check(
        "D-TPL-01",
        &[
            (
                "{% tablerow i in (1..3) cols: 2 %}{{ i }}{% endtablerow %}",
                "<tr class=\"row1\">\n<td class=\"col1\">1</td><td class=\"col2\">2</td></tr>\n<tr class=\"row2\"><td class=\"col1\">3</td></tr>\n",
            ),
            (
                "{% tablerow i in nums %}{{ i }}{% endtablerow %}",
                "<tr class=\"row1\">\n<td class=\"col1\">3</td><td class=\"col2\">1</td><td class=\"col3\">2</td></tr>\n",
            ),
            (
                "{% tablerow i in (1..4) cols:2 limit:2 offset:1 %}{{ i }}{{ tablerowloop.col }}{{ tablerowloop.row }}{{ tablerowloop.col_first }}{{ tablerowloop.col_last }}{{ tablerowloop.index }}{% endtablerow %}",
                "<tr class=\"row1\">\n<td class=\"col1\">211truefalse1</td><td class=\"col2\">321falsetrue2</td></tr>\n",
            ),
            ("{% tablerow i in none %}x{% endtablerow %}", "<tr class=\"row1\">\n</tr>\n"),
            ("{% tablerow i in absent %}x{% endtablerow %}", ""),
        ],
    );
}

#[test]
fn variables() {
    check(
        "D-TPL-01",
        &[
            ("{% assign x = 'a' %}{{ x }}", "a"),
            ("{% assign x = name | upcase %}{{ x }}", "ADA"),
            ("{% assign x = nums %}{{ x[0] }}", "3"),
            ("{% assign x = 1 %}{% assign x = x | plus: 1 %}{{ x }}", "2"),
            ("{% assign name = 'Bo' %}{{ name }}", "Bo"),
            ("{% assign x = user %}{{ x.address.city }}", "Rome"),
            ("{% assign a-b = 1 %}{{ a-b }}", "1"),
            ("{% capture x %}a{{ n }}{% endcapture %}{{ x }}{{ x | size }}", "a52"),
            ("{% capture 'x' %}q{% endcapture %}{{ x }}", "q"),
            ("{% increment c %}{% increment c %}{{ c }}", "012"),
            ("{% decrement c %}{% decrement c %}{{ c }}", "-1-2-2"),
            ("{% increment c %}{% decrement c %}", "00"),
            ("{% assign c = 9 %}{% increment c %}{{ c }}", "09"),
            ("{% for i in (1..4) %}{% cycle 'a', 'b', 'c' %}{% endfor %}", "abca"),
            ("{% cycle 'a', 'b' %}{% cycle 'a', 'b' %}{% cycle 'x', 'b' %}", "abx"),
            ("{% cycle 'g': 'a', 'b' %}{% cycle 'h': 'a', 'b' %}{% cycle 'g': 'a', 'b' %}", "aab"),
            ("{% cycle a: '1', '2' %}{% cycle a: '1', '2', '3' %}{% cycle a: '1' %}", "12"),
            ("{% cycle name: n, one %}{% cycle name: n, one %}", "51"),
            ("{% for i in words %}{% ifchanged %}{{ i | size }}{% endifchanged %}{% endfor %}", "1"),
        ],
    );
}

#[test]
fn comments_raw_echo_and_liquid() {
    check(
        "D-TPL-01",
        &[
            ("a{% comment %} {{ x | nope }} {% if %} {% endcomment %}b", "ab"),
            ("{% comment %}{% comment %}x{% endcomment %}y{% endcomment %}z", "z"),
            ("{% comment %}{% raw %}{% endcomment %}{% endraw %}{% endcomment %}z", "z"),
            ("a{% doc %}{{ {% if {% raw %} {% enddoc -%} b", "ab"),
            ("{% # a note, it's fine %}x", "x"),
            ("{% # one\n  # two %}x", "x"),
            ("{% raw %}{{ name }}{% if %}{% endraw %}", "{{ name }}{% if %}"),
            ("{% raw %}{{ {% endraw %}x", "{{ x"),
            ("{% echo name | upcase %}", "ADA"),
            ("{% liquid\n assign x = 2\n echo x | plus: 1\n%}", "3"),
            ("{% liquid\n for i in nums\n echo i\n endfor\n%}", "312"),
            ("{% liquid\n # note\n if yes\n echo 'y'\n else\n echo 'n'\n endif\n%}", "y"),
            ("{% liquid\n comment\n nonsense here\n endcomment\n echo 1 %}", "1"),
            ("{% liquid %}", ""),
            ("{% liquid echo 'a' %}", "a"),
            ("{% for i in nums %}{% liquid\n if i == 1\n break\n endif\n echo i %}{% endfor %}", "3"),
        ],
    );
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    check_errors(
        "D-TPL-06 D-TPL-04",
        &[
            ("{{ name | upcas }}", "line 1: There is no filter `upcas`; did you mean `upcase`?"),
            ("a\nb {{ name | zzzzzz }}", "line 2: There is no filter `zzzzzz`."),
            ("\n{% iff x %}", "line 2: There is no tag `iff`; did you mean `if`?"),
            ("{% include 'x' %}", "line 1: `include` is not supported; use `render`."),
            (
                "{% render 'x' with y %}",
                "line 1: `render` passes values by name only; `for`, `with` and `as` are not supported.",
            ),
            (
                "{% render 'x' for y as z %}",
                "line 1: `render` passes values by name only; `for`, `with` and `as` are not supported.",
            ),
            ("{% render x %}", "line 1: A text in quotes was expected where `x` stands."),
            ("\n{% if a %}\n", "line 2: `if` is not closed: `endif` is missing."),
            (
                "{% if a %}\n{% for i in b %}\n{% endif %}",
                "line 3: `endif` stands where `endfor` must close the `for` of line 2.",
            ),
            ("{% endif %}", "line 1: `endif` closes nothing: there is no open `if`."),
            ("{% else %}", "line 1: `else` stands outside of its block."),
            ("{% if a %}{% else if b %}{% endif %}", "line 1: A further condition is written `elsif`."),
            ("{% if a = b %}{% endif %}", "line 1: A comparison for equality is written `==`."),
            ("{% if %}{% endif %}", "line 1: A value is missing."),
            (
                "{% if (a or b) and c %}{% endif %}",
                "line 1: `(` begins a range such as `(1..3)`; conditions cannot be grouped with parentheses.",
            ),
            ("{% if a && b %}{% endif %}", "line 1: `&& b` is not understood."),
            ("{{ name", "line 1: `{{` is not closed: `}}` is missing."),
            ("\n\n{% if a", "line 3: `{%` is not closed: `%}` is missing."),
            ("{{ 'abc }}", "line 1: The text 'abc has no closing quote."),
            ("{{ a b }}", "line 1: `b` is not understood here."),
            ("{{ a | }}", "line 1: A name is missing at the end of `a |`."),
            ("{{ name | append }}", "line 1: `append` takes one argument, not 0."),
            ("{{ name | replace: 'a', 'b', 'c' }}", "line 1: `replace` takes 1 to 2 arguments, not 3."),
            ("{{ name | default: 'a', alow: true }}", "line 1: `default` has no argument `alow`."),
            ("{% assign x %}", "line 1: `=` is missing at the end of `x`."),
            ("{% assign x = %}", "line 1: A value is missing after `=`."),
            ("{% for i of x %}{% endfor %}", "line 1: A loop is written `for i in list`; `in` is missing."),
            ("{% for i in x limt: 2 %}{% endfor %}", "line 1: `for` has no option `limt`; did you mean `limit`?"),
            ("{% comment %}x", "line 1: `comment` is not closed: `endcomment` is missing."),
            ("{% raw %}x", "line 1: `raw` is not closed: `endraw` is missing."),
            ("{% liquid\n  assign x = 1\n  ecko x\n%}", "line 3: There is no tag `ecko`; did you mean `echo`?"),
            (
                "{% t x %}{% endt %}",
                "line 1: `t` takes no arguments; a value is passed with the filter: `\"key\" | t: name: value`.",
            ),
            ("{% liquid\n t\n echo 1\n endt %}", "line 2: `t` cannot stand inside `liquid`."),
            ("{% liquid\n raw\n endraw %}", "line 2: `raw` cannot stand inside `liquid`."),
            ("{% # one\n two %}", "line 1: Each line of a `#` comment must begin with `#`."),
            ("{% %}", "line 1: The tag is empty."),
            ("a\n{{ 1 | divided_by: 0 }}", "line 2: `divided_by`: a number cannot be divided by 0."),
            ("{{ 5 | modulo: 0 }}", "line 1: `modulo`: a number cannot be divided by 0."),
            ("{% render 'nope' %}", "line 1: There is no partial `nope`."),
        ],
    );
}
