"""FlockML becomes the text a reader sees, and no document can make the reader grow, fetch or fail (flock-api.md 8)."""

from __future__ import annotations

import time
from html import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.normalise.flockml import DEPTH_MAX, LENGTH_MAX_CHARACTERS, to_plain_text

# Twenty times what the slowest takes; what grows with the square of the length takes hours.
SECONDS_MAX = 20


@pytest.mark.parametrize(
    ("flockml", "text"),
    [
        ("<flockml>hello</flockml>", "hello"),
        ("<flockml/>", ""),
        ("<flockml>a<br/>b<br></br>c</flockml>", "a\nb\nc"),
        ("<flockml>a <b>b <i>c <u>d</u></i></b> <em>e</em> <strong>f</strong></flockml>", "a b c d e f"),
        ('<flockml><action id="a" type="sendEvent">Press</action></flockml>', "Press"),
        ("<flockml>&lt;b&gt; &quot;&apos; &#233; &#x1F600;</flockml>", "<b> \"' é 😀"),
        ("<flockml><![CDATA[<b>raw</b> & more]]></flockml>", "<b>raw</b> & more"),
        ("<flockml>a<!-- hidden -->b<?php echo 1 ?>c</flockml>", "abc"),
        ("<flockml>  white\n space </flockml>", "  white\n space "),
        ("<flockml><unknown x='1'>kept</unknown></flockml>", "kept"),
        ("<flockml>مرحبا 👩‍👩‍👧 \u202eabc</flockml>", "مرحبا 👩‍👩‍👧 \u202eabc"),
        ('<?xml version="1.0" encoding="UTF-8"?><flockml>é</flockml>', "é"),
        ('<?xml version="1.0" encoding="latin-1"?><flockml>é</flockml>', "é"),
        ('<?xml version="1.0" encoding="utf-16"?><flockml>é</flockml>', "é"),
    ],
)
def test_the_text_of_a_document(flockml: str, text: str) -> None:
    assert to_plain_text(flockml) == text


@pytest.mark.parametrize(
    "flockml",
    [
        "",
        "hello",
        "<flockml>open",
        "<flockml>wrong</b></flockml>",
        "<flockml>one</flockml><flockml>two</flockml>",
        "<html>other root</html>",
        "<FlockML>other case</FlockML>",
        "<b><flockml>root inside</flockml></b>",
        "<flockml>a & b</flockml>",
        "<flockml>a &nbsp; b & c</flockml>",
        "<flockml>&nbsp;<![CDATA[ never closed</flockml>",
        "<flockml>&nbsp;<!-- never closed</flockml>",
        "<flockml>&nbsp b</flockml>",
        "<flockml>&" + "n" * 33 + ";</flockml>",
        "<flockml>&é;</flockml>",
        "<flockml>&#8;</flockml>",
        "<flockml>a < b</flockml>",
        "<flockml a=1>x</flockml>",
        "<flockml>\x00</flockml>",
        "<flockml>\x08</flockml>",
        "<flockml>\ud800</flockml>",
        "\ufffe<flockml>x</flockml>",
    ],
)
def test_what_is_no_flockml_is_shown_as_it_is_and_nothing_is_hidden(flockml: str) -> None:
    assert to_plain_text(flockml) == flockml


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("<a href='https://x/?a=1&amp;b=2'>link &amp; text</a>", "link & text (https://x/?a=1&b=2)"),
        ("<a href='https://evil.example'>https://good.example</a>", "https://good.example (https://evil.example)"),
        ("<a href='https://x.example'>https://x.example</a>", "https://x.example"),
        ("<a href='https://x.example/'> x.example </a>", " x.example "),
        ("<a href='http://x.example'>x.example/</a>", "x.example/"),
        ("<a href='mailto:ann@x.example'>ann@x.example</a>", "ann@x.example"),
        ("<a href='https://x.example'>X.example.evil</a>", "X.example.evil (https://x.example)"),
        ("<a href='https://x.example'><b>the</b><br/>page</a>", "the\npage (https://x.example)"),
        ("<a href='javascript:alert(1)'>look</a>", "look (javascript:alert(1))"),
        ("<a href='https://x.example'/>", "https://x.example"),
        ("<a href='https://x.example'> </a>", " https://x.example"),
        ("<a href=''>look</a>", "look"),
        ("<a href=' '>look</a>", "look"),
        ("<a name='here'>look</a>", "look"),
        ("<a href='https://one'>a <a href='https://two'>b</a> c</a>", "a b (https://two) c (https://one)"),
        ("<A href='https://x.example'>other case</A>", "other case"),
        ("<a href='https://x/&nbsp;&nosuch;'>look</a>", "look (https://x/\u00a0&nosuch;)"),
        ('<action type="openBrowser" url="https://x.example">Press</action>', "Press (https://x.example)"),
        ('<action type="openWidget" url="https://x.example"/>', "https://x.example"),
    ],
)
def test_a_link_tells_where_it_leads_unless_its_text_does(link: str, text: str) -> None:
    assert to_plain_text(f"<flockml>see {link}!</flockml>") == f"see {text}!"


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ('<user userId="u:1">Ann</user>', "Ann"),
        ('<user userId="u:1"><b>Ann</b> Lee</user>', "Ann Lee"),
        ('<user userId="u:1"/>', "u:1"),
        ('<user userId="u:1"> <i/></user>', " u:1"),
        ("<user/>", ""),
    ],
)
def test_a_user_is_the_name_that_was_given_or_else_the_id(user: str, text: str) -> None:
    assert to_plain_text(f"<flockml>Hi {user}!</flockml>") == f"Hi {text}!"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a&nbsp;b", "a\u00a0b"),
        ("&copy;&euro;&hellip;&NotEqualTilde;", "©€…\u2242\u0338"),
        ("&amp;&lt;&AMP;&LT;&nbsp;", "&<&<\u00a0"),
        ("&nosuch; &nbsp;", "&nosuch; \u00a0"),
        ("&nosuch;", "&nosuch;"),
        ("&amp;nbsp; &nbsp;", "&nbsp; \u00a0"),
        ("&nbsp;<![CDATA[&nbsp;]]>&nbsp;", "\u00a0&nbsp;\u00a0"),
        ("&nbsp;<!-- &nbsp; & < -->x", "\u00a0x"),
        ("&nbsp;<?php & &nbsp; ?>x", "\u00a0x"),
        ("<b>&nbsp;</b><br/>&middot;", "\u00a0\n·"),
    ],
)
def test_an_entity_that_xml_does_not_know_costs_nothing_but_itself(written: str, text: str) -> None:
    assert to_plain_text(f"<flockml>{written}</flockml>") == text


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><flockml>&a9;</flockml>"
)


@pytest.mark.parametrize(
    "flockml",
    [
        BOMB,
        '<!DOCTYPE flockml [<!ENTITY x "grow">]><flockml>&x;</flockml>',
        '<!DOCTYPE flockml SYSTEM "http://127.0.0.1:1/x.dtd"><flockml>x</flockml>',
        '<!DOCTYPE flockml [<!ENTITY x SYSTEM "file:///etc/passwd">]><flockml>&x;</flockml>',
        '<!DOCTYPE flockml [<!ENTITY % x SYSTEM "http://127.0.0.1:1/">%x;]><flockml>x</flockml>',
        '<!DOCTYPE flockml [<!ATTLIST flockml x CDATA "y">]><flockml>x</flockml>',
        "<!DOCTYPE flockml><flockml>x</flockml>",
    ],
)
def test_document_types_and_entities_are_refused(flockml: str) -> None:
    assert to_plain_text(flockml) == flockml


@pytest.mark.parametrize(("depth", "read"), [(DEPTH_MAX, True), (DEPTH_MAX + 1, False), (100_000, False)])
def test_nesting_is_capped(depth: int, read: bool) -> None:
    inner = depth - 1
    flockml = "<flockml>" + "<b>" * inner + "x" + "</b>" * inner + "</flockml>"
    assert to_plain_text(flockml) == ("x" if read else flockml)


@pytest.mark.parametrize(("length", "read"), [(LENGTH_MAX_CHARACTERS, True), (LENGTH_MAX_CHARACTERS + 1, False)])
def test_length_is_capped(length: int, read: bool) -> None:
    text = "x" * (length - len("<flockml></flockml>"))
    flockml = f"<flockml>{text}</flockml>"
    assert to_plain_text(flockml) == (text if read else flockml)


PIECES = st.sampled_from(
    ["<flockml>", "</flockml>", "<b>", "</b>", "<br/>", "&amp;", "&#10;", "&x;", "&nbsp;", "&", "<![CDATA[", "]]>", "<!--", "-->", "<!DOCTYPE x [",
     '<!ENTITY x "yyyyyyyyyyyyyyyy">', "]>", "<?xml version='1.0'?>", "text", "\x00", "\ud800", "😀", "\r\n", "<a href='https://x/'>", "</a>",
     "<user userId='u:1'>", "</user>", "<action url='https://y/'/>"]
)  # fmt: skip
BETWEEN = st.lists(PIECES, max_size=30).map("".join)


@given(st.text() | BETWEEN | BETWEEN.map(lambda inner: f"<flockml>{inner}</flockml>"))
@example("<flockml>" + "<br/>" * 1_000 + "</flockml>")
@example("<flockml>" + "<a href='x'/>" * 1_000 + "</flockml>")
@example("<flockml>" + "&nbsp;&nGt;&x;" * 1_000 + "</flockml>")
def test_any_text_is_read_and_the_text_is_the_markup_only_where_it_could_not_be(flockml: str) -> None:
    text = to_plain_text(flockml)
    assert text == flockml or len(text) < len(flockml)


Tree = tuple[str, str, list[object]] | str
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)
    | st.sampled_from(["https://x", "x", " "]),
    lambda inner: st.tuples(
        st.sampled_from(["b", "i", "a", "action", "user", "br", "p"]),
        st.sampled_from(["", "https://x", "u:1", 'a & "b"']),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=4), st.booleans())
def test_whatever_the_document_its_text_is_what_the_rules_say(trees: list[Tree], is_entity_added: bool) -> None:
    added = ("&nbsp;", "\u00a0") if is_entity_added else ("", "")
    markup = "".join(map(markup_of, trees)) + added[0]
    assert to_plain_text(f"<flockml>{markup}</flockml>") == "".join(map(text_of, trees)) + added[1]


def markup_of(tree: Tree) -> str:
    if isinstance(tree, str):
        return escape(tree, quote=False)
    name, value, children = tree
    attribute = {"a": "href", "action": "url", "user": "userId"}.get(name, "title")
    return f'<{name} {attribute}="{escape(value)}">{"".join(map(markup_of, children))}</{name}>'  # type: ignore[arg-type]


def text_of(tree: Tree) -> str:
    """The rules, read plainly."""
    if isinstance(tree, str):
        return tree
    name, value, children = tree
    text = "".join(map(text_of, children))  # type: ignore[arg-type]
    if name == "br":
        return "\n" + text
    if name == "user":
        return text if text.strip() else text + value
    if name in ("a", "action") and value:
        says_it = text.strip() in (value, value.removeprefix("https://"))
        return text + value if not text.strip() else text if says_it else f"{text} ({value})"
    return text


HALF = LENGTH_MAX_CHARACTERS // 2


@pytest.mark.parametrize(
    "flockml",
    [
        "<flockml>&nbsp;" + "<![CDATA[" * 100_000,
        "<flockml>&nbsp;" + "<!-- " * 190_000,
        "<flockml>&nbsp;" + "&a" * HALF,
        "<flockml>" + "&nbsp;" * 160_000 + "</flockml>",
        "<flockml>" + "<a href='x'>" * 99 + "y" * HALF + "</a>" * 99 + "</flockml>",
        "<flockml>" + "<a href='x'>t</a>" * 50_000 + "</flockml>",
        "<flockml>&" + "a" * HALF + ";&nbsp;</flockml>",
    ],
    ids=["literals", "comments", "ampersands", "entities", "nested links", "links", "a long name"],
)
def test_no_document_within_the_cap_takes_long(flockml: str) -> None:
    began = time.process_time()
    to_plain_text(flockml)
    assert time.process_time() - began < SECONDS_MAX
