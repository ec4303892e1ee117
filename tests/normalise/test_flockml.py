"""FlockML becomes the text a reader sees, and no document can make the reader grow, fetch or fail (flock-api.md 8)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.normalise.flockml import DEPTH_MAX, LENGTH_MAX_CHARACTERS, to_plain_text


@pytest.mark.parametrize(
    ("flockml", "text"),
    [
        ("<flockml>hello</flockml>", "hello"),
        ("<flockml/>", ""),
        ("<flockml>a<br/>b<br></br>c</flockml>", "a\nb\nc"),
        ("<flockml>a <b>b <i>c <u>d</u></i></b> <em>e</em> <strong>f</strong></flockml>", "a b c d e f"),
        ("<flockml><a href='https://x/?a=1&amp;b=2'>link &amp; text</a></flockml>", "link & text"),
        ('<flockml>Hi <user userId="u:1">Ann</user>!</flockml>', "Hi Ann!"),
        ('<flockml><action id="a" type="openWidget" url="https://x">Press</action></flockml>', "Press"),
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
        "<flockml>a &nbsp; b</flockml>",
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
    ["<flockml>", "</flockml>", "<b>", "</b>", "<br/>", "&amp;", "&#10;", "&x;", "<![CDATA[", "]]>", "<!--", "-->", "<!DOCTYPE x [",
     '<!ENTITY x "yyyyyyyyyyyyyyyy">', "]>", "<?xml version='1.0'?>", "text", "\x00", "\ud800", "😀", "\r\n"]
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
@example("<flockml>" + "<br/>" * 1_000 + "</flockml>")
def test_any_text_is_read_and_never_grows(flockml: str) -> None:
    assert len(to_plain_text(flockml)) <= len(flockml)
