"""Lists of links as people have them: what is asked for, in which class, and what is wrong with the rest."""

import codecs
import csv
import io
import json
import os
import pickle
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from tellapart.data.gather.links import Link, read_links
from tellapart.data.gather.urls import BadLink, request_url
from tellapart.errors import DatasetError, UsageError

CAT, DOG = "https://example.com/1.jpg", "https://example.com/2.jpg"


def write(folder: Path, content: str | bytes, name: str = "urls_cat.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def asked(file: Path) -> list[tuple[str, str]]:
    """What is asked for, where nothing is wrong with any of it."""
    links, notes = read_links(file)
    assert notes == []
    assert [link.detail for link in links if link.reason or link.detail] == []
    return [(link.request, link.label) for link in links]


# What is asked for.


@pytest.mark.parametrize(
    "link",
    [
        "https://example.com/a.jpg",
        "http://example.com/",
        "https://example.com/a%2fb%2Fc+d%20e?X-Amz-Signature=ab%2Bc%2f/==&x=%C3%BC&y=1+2",
        "https://example.com/w_200,h_200;q=1/a'(1)!$*~.jpg?a[]=[1]&b?c=@:",
        "https://example.com/fetch/https://example.org//b.jpg",
        "https://example.com/a?x=1&amp;y=2",
        "https://example.com/...jpg?a=/../b",
        "https://user:pass%40word@example.com:8443/a",
        "http://127.0.0.1:8080/a",
        "http://[2001:db8::1]:8080/a",
        "http://[::1]/",
        "http://localhost/a",
        "http://under_score.example.com./a",
        "http://xn--exmple-cua.com/a",
    ],
)
def test_what_is_valid_is_kept_to_the_letter(link: str) -> None:
    assert request_url(link) == link


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("HTTPS://Example.COM", "https://example.com/"),
        ("https://example.com?a=B", "https://example.com/?a=B"),
        ("https://example.com/a?", "https://example.com/a"),
        ("https://example.com/A.jpg?B#top?c", "https://example.com/A.jpg?B"),
        ("https://example.com#top", "https://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com:008080/", "http://example.com:8080/"),
        ("http://[2001:DB8::A]/", "http://[2001:db8::a]/"),
        ("http://@example.com/", "http://example.com/"),
        ("http://ü@b:c@example.com/", "http://%C3%BC%40b:c@example.com/"),
        ("http://[@example.com/", "http://%5B@example.com/"),
        # IDNA
        ("https://Exämple.com/", "https://xn--exmple-cua.com/"),
        ("https://straße.de/", "https://xn--strae-oqa.de/"),
        ("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),  # what is checked is what is asked
        # percent-encoding
        ("https://example.com/ü.jpg?ü=é", "https://example.com/%C3%BC.jpg?%C3%BC=%C3%A9"),
        ("https://example.com/u\u0308", "https://example.com/u%CC%88"),  # as it stands
        ("https://example.com/😀", "https://example.com/%F0%9F%98%80"),
        ("https://example.com/a b?c d", "https://example.com/a%20b?c%20d"),
        ('https://example.com/"<>\\^`{|}', "https://example.com/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ('https://example.com/?"<>\\^`{|}', "https://example.com/?%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://example.com/%%41%4%zz%é", "https://example.com/%25%41%254%25zz%25%C3%A9"),
        ("https://example.com/%٣٣", "https://example.com/%25%D9%A3%D9%A3"),
        ("https://example.com/\x1b\x7f\x85a", "https://example.com/%1B%7F%C2%85a"),
        # dot segments, as browsers resolve them
        ("https://example.com/a/../b/./c", "https://example.com/b/c"),
        ("https://example.com/../../a", "https://example.com/a"),
        ("https://example.com/a/b/..", "https://example.com/a/"),
        ("https://example.com/a/.", "https://example.com/a/"),
        ("https://example.com/..", "https://example.com/"),
        ("https://example.com/a/%2e%2E/b/.%2e/%2E", "https://example.com/"),
        ("https://example.com/a//../b", "https://example.com/a/b"),
        ("https://example.com//a//.", "https://example.com//a//"),
        # around it, and line breaks in it
        ("\ufeff \t\u00a0https://example.com/a\u200b \r\n", "https://example.com/a"),
        ("https://example.com/a\r\nb\tc?d\ne", "https://example.com/abc?de"),
        ("https://example.com/a?\n", "https://example.com/a"),
        ("http://\n@example.com/", "http://example.com/"),
    ],
)
def test_what_is_asked_for(link: str, expected: str) -> None:
    assert request_url(link) == expected
    assert request_url(expected) == expected


@pytest.mark.parametrize(
    ("link", "reason", "detail"),
    [
        ("", "not a URL", "empty"),
        (" \n", "not a URL", "empty"),
        ("//example.com/a", "not a URL", "put https:// before it"),
        ("www.example.com/a", "not a URL", "put https:// before it"),
        ("www.example.com:8080/a", "not a URL", "put https:// before it"),
        ("localhost:8080/a", "not a URL", "put https:// before it"),
        ("a cat", "not a URL", "put https:// before it"),
        ("Note: a cat", "not a URL", "put https:// before it"),
        ("C:\\pictures\\1.jpg", "not a URL", "a file's path"),
        ("ftp://example.com/a", "scheme not allowed", "ftp"),
        ("FILE:///etc/passwd", "scheme not allowed", "file"),
        ("data:image/png;base64,iVBORw0KGgo=", "scheme not allowed", "data"),
        ("javascript:alert(1)", "scheme not allowed", "javascript"),
        ("view-source:https://example.com/", "scheme not allowed", "view-source"),
        ("httpss://example.com/", "scheme not allowed", "httpss"),
        ("http:example.com/a", "not a URL", "begin with http://"),
        ("https:/example.com/a", "not a URL", "begin with https://"),
        ("https:\\\\example.com\\a", "not a URL", "begin with https://"),
        ("https://", "not a URL", "no host"),
        ("https:///a", "not a URL", "no host"),
        ("https://user@/a", "not a URL", "no host"),
        ("https://:80/a", "not a URL", "no host"),
        ("https://exa mple.com/", "not a URL", "'exa mple.com' is no host"),
        ("https://exa\nmple.com/", "not a URL", r"'exa\nmple.com' is no host"),
        ("https://example.com\\@evil.org/", "not a URL", "backslash"),
        ("https://example.com\\a", "not a URL", "backslash"),
        ("https://ex%61mple.com/", "not a URL", "is no host"),
        ("https://a..com/", "not a URL", "is no host"),
        ("https://.com/", "not a URL", "is no host"),
        ("https://a,b/", "not a URL", "is no host"),
        (f"https://{'a' * 64}.com/", "not a URL", "is no host"),
        (f"https://{'a.' * 130}com/", "not a URL", "is no host"),
        ("https://exa\u200bmple.com/", "not a URL", "is no host"),
        ("https://exa\ud800mple.com/", "not a URL", "is no host"),
        ("https://example.com／a/", "not a URL", "is no host"),
        ("https://a℀b.com/", "not a URL", "is no host"),
        ("https://[::1/", "not a URL", "is no"),
        ("https://[::1]a/", "not a URL", "is no port"),
        ("https://[example.com]/", "not a URL", "is no host"),
        ("https://[fe80::1%eth0]/", "not a URL", "is no host"),
        ("https://a[::1]/", "not a URL", "is no"),
        ("https://example.com:http/", "not a URL", "'http' is no port"),
        ("https://example.com:0/", "not a URL", "'0' is no port"),
        ("https://example.com:65536/", "not a URL", "'65536' is no port"),
        ("https://example.com:٨٠/", "not a URL", "is no port"),
        (f"https://example.com:{'9' * 5000}/", "not a URL", "is no port"),
        ("https://example.com:80:80/", "not a URL", "is no port"),
        ("https://example.com/\ud800", "not a URL", "half a character"),
        ("https://example.com/" + "a" * 8_000, "not a URL", "too long"),
        ("https://example.com/" + "ü" * 2_000, "not a URL", "too long"),  # once it is encoded
    ],
)
def test_what_cannot_be_asked_for(link: str, reason: str, detail: str) -> None:
    with pytest.raises(BadLink) as caught:
        request_url(link)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert len(caught.value.detail) < 150
    assert caught.value.detail.isprintable()


def test_the_longest_that_is_asked_for() -> None:
    link = "https://example.com/".ljust(8_000, "a")
    assert request_url(link) == link
    with pytest.raises(BadLink, match="too long"):
        request_url(link + "a")


def test_a_bad_link_can_be_sent_between_processes() -> None:
    again = pickle.loads(pickle.dumps(BadLink("not a URL", "it is empty")))
    assert (again.reason, again.detail) == ("not a URL", "it is empty")
    assert str(again) == "not a URL: it is empty"
    assert isinstance(again, ValueError)


PIECES = st.sampled_from(
    "/ // .. . %2e %2E % %4 %zz %C3 ? # @ : :80 [ ] [::1] ü 。 １ ℀ İ 😀 \\ | \" ' < a B.c xn-- _ -"
    " &amp; + = ; ,".split()
) | st.sampled_from(" \t\n\x00\x7f\u2028\u200b\ud800")
LINKS = st.builds(
    str.__add__,
    st.sampled_from(["http://", "HTTPS://h.org", "https://h.org/", "http://u:p@h:1?", "", "//"]),
    st.one_of(st.lists(PIECES, max_size=10).map("".join), st.text(max_size=20)),
)


@settings(max_examples=600)
@given(LINKS)
def test_a_request_is_ascii_and_asking_for_it_changes_nothing(link: str) -> None:
    try:
        url = request_url(link)
    except BadLink:
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert "#" not in url
    assert request_url(url) == url
    host, slash, rest = url.partition("://")[2].partition("/")
    sent = URL(url, encoded=True)  # as the client sends it
    assert sent.raw_path_qs == slash + rest
    assert host.rpartition("@")[2].startswith((f"{sent.raw_host}", f"[{sent.raw_host}]"))


VALID = st.text(string.ascii_letters + string.digits + "-_~!$&'()*+,;=:@[]/", max_size=20)
ESCAPE = st.builds("%{}{}".format, *[st.sampled_from("0123456789abcdefABCDEF")] * 2)


@given(
    st.lists(st.one_of(VALID, ESCAPE), max_size=8), st.lists(st.one_of(VALID, ESCAPE), max_size=8)
)
def test_a_valid_path_and_query_are_kept(path: list[str], query: list[str]) -> None:
    link = f"https://example.com/a{''.join(path)}?b{''.join(query)}"
    if "%2e" not in link.lower():
        assert request_url(link) == link


# Lists of lines.


@pytest.mark.parametrize(
    "content",
    [
        f"{CAT}\n{DOG}\n",
        f"{CAT}\n{DOG}",
        f"{CAT}\r\n{DOG}\r\n",
        f"{CAT}\r{DOG}\r",
        f"\ufeff{CAT}\n{DOG}\n",
        f"\ufeff{CAT}\n{DOG}\n".encode("utf-16-le"),
        f"\ufeff{CAT}\r\n{DOG}\r\n".encode("utf-16-be"),
        f"# cats\n\n  {CAT}  \n\t\n  # more\n{DOG}\n\n",
        f"url\n{CAT}\n{DOG}\n",
        f'\n# cats\n "Image_URL" \n{CAT}\n{DOG}\n',
        f'"{CAT}"\n\'{DOG}\'\n',
        f"<{CAT}>\n<{DOG}>\n",
        f'"{CAT}",\n"{DOG}",\n',  # out of a program
        f'"<{CAT}>"\n" {DOG} "\n',
        f"url,label\n{CAT},cat\n{DOG},cat\n",
        f"url;label\r\n{CAT};cat\r\n{DOG};cat\r\n",
        f"url\tlabel\n{CAT}\tcat\n{DOG}\tcat\n",
        f'"url","label"\n"{CAT}","cat"\n"{DOG}","cat"\n',
        f" URL , Label \n {CAT} , cat \n{DOG}, \"cat\"\n",
        f"label,url\n\n,\n# no more\ncat,{CAT}\ncat,{DOG}\n",
        f'\ufeff"href",label\n{CAT},cat\n<{DOG}>,cat\n',
    ],
)  # fmt: skip
def test_many_ways_to_write_one_list(tmp_path: Path, content: str | bytes) -> None:
    assert asked(write(tmp_path, content)) == [(CAT, "cat"), (DOG, "cat")]


def test_commas_and_semicolons_belong_to_a_link(tmp_path: Path) -> None:
    links = ["https://example.com/w_200,h_200/a.jpg", "https://example.com/a;b=1, 2;,"]
    for header in ("", "url\n"):
        found = asked(write(tmp_path, header + "\n".join(links)))
        assert found == [(links[0], "cat"), ("https://example.com/a;b=1,%202;,", "cat")]


def test_a_first_line_that_only_looks_like_a_header(tmp_path: Path) -> None:
    assert asked(write(tmp_path, f"{CAT}?by,url\n")) == [(f"{CAT}?by,url", "cat")]
    links, _ = read_links(write(tmp_path, "x" * 200_000 + f",url\n{CAT}\n"))
    assert [link.request for link in links] == ["", CAT]


def test_what_stands_behind_a_link_is_left_out_and_counted(tmp_path: Path) -> None:
    content = (
        f"{CAT}\ta cat\n{DOG},{CAT}\nhttps://example.com/3,a.jpg; '{CAT}'\n"
        f"n02084071_1\thttps://example.com/4.jpg\nhttps://example.com/5.jpg\t\t\n"
    )
    file = write(tmp_path, content)
    links, notes = read_links(file)
    assert [link.request[20:] for link in links] == ["1.jpg", "2.jpg", "3,a.jpg", "4.jpg", "5.jpg"]
    assert notes == [f"4 lines of {file} hold more than a link; it is left out"]


def test_a_link_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    content = f"# cats\n\n{CAT}\nwww.example.com/2.jpg\nftp://example.com/3.jpg\n{DOG}\n"
    links, notes = read_links(write(tmp_path, content))
    assert notes == []
    assert [(link.url, link.request, link.reason) for link in links] == [
        (CAT, CAT, ""),
        ("www.example.com/2.jpg", "", "not a URL"),
        ("ftp://example.com/3.jpg", "", "scheme not allowed"),
        (DOG, DOG, ""),
    ]
    assert links[1].detail == "urls_cat.csv line 4: it has no scheme; put https:// before it"
    assert links[2].detail.startswith("urls_cat.csv line 5: ")
    assert {link.label for link in links} == {"cat"}


def test_a_list_of_only_faults_is_no_error(tmp_path: Path) -> None:
    links, notes = read_links(write(tmp_path, "one\ntwo\n"))
    assert [link.reason for link in links] == ["not a URL"] * 2
    assert notes == []


def test_what_a_list_holds_stays_on_one_line(tmp_path: Path) -> None:
    content = 'url,label,note\nhttps://example.com/\x1b[2J\u2028,cat,"\x85a\x1b\U000e0001\nb"\n'
    links, _ = read_links(write(tmp_path, content + "x,a\x1b/b,\n"))
    assert links[0].url == r"https://example.com/\x1b[2J"
    assert links[0].request == "https://example.com/%1B[2J"
    assert links[0].provenance == r'{"note":"a\u001b\udb40\udc01\nb"}'
    assert json.loads(links[0].provenance) == {"note": "a\x1b\U000e0001\nb"}
    assert links[1].label == r"a\x1b/b"


def test_an_endless_line_is_cut(tmp_path: Path) -> None:
    endless = "data:image/jpeg;base64," + "A" * 300_000
    links, notes = read_links(write(tmp_path, f"{CAT}\n{endless}\n{endless}B\n{DOG}\n"))
    assert [link.request for link in links] == [CAT, "", "", DOG]
    assert links[1].url == links[2].url == endless[:200] + "…"
    assert links[1].reason == "not a URL"
    assert "too long" in links[1].detail
    assert notes == []  # the two are not the same


def test_the_request_and_the_link_are_one_string_where_they_are_equal() -> None:
    (link,), _ = read_links({"cat": [" " + CAT]})
    assert link.request is link.url  # a million of them is 100 MB


# Tables.


def test_a_row_has_a_label_and_provenance(tmp_path: Path) -> None:
    content = (
        "id,url,Label,Licence,,Licence\n7,https://example.com/é.jpg,Hya\u0308ne,CC-BY,ü,\n"
        f",{CAT},cat\n,{DOG},cat,,,\n"
    )
    links, notes = read_links(write(tmp_path, content, "list.csv"))
    assert links == [
        Link(
            "https://example.com/é.jpg", "Hyäne", "https://example.com/%C3%A9.jpg",
            provenance='{"column 1":"ü","id":"7","licence":"CC-BY"}',
        ),
        Link(CAT, "cat", CAT),
        Link(DOG, "cat", DOG),
    ]  # fmt: skip
    assert notes == []


def test_columns_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    file = write(tmp_path, f"url,label,tag,tag\n{CAT},cat,a,b\n", "list.csv")
    assert read_links(file)[0][0].provenance == '{"tag":"a","tag 2":"b"}'


def test_a_class_that_is_given_leaves_the_column_as_provenance(tmp_path: Path) -> None:
    file = write(tmp_path, f"url,label\n{CAT},tabby\n")
    (link,), _ = read_links({"animal": file})
    assert (link.label, link.provenance) == ("animal", '{"label":"tabby"}')
    (link,), _ = read_links(file)  # the column tells more than the file's name, cat
    assert (link.label, link.provenance) == ("tabby", "")


@pytest.mark.parametrize("column", ["label", "CLASS", "Category"])
def test_columns_that_tell_the_class(tmp_path: Path, column: str) -> None:
    assert asked(write(tmp_path, f"{column},src\ndog,{DOG}\n")) == [(DOG, "dog")]


def test_a_pictures_address_goes_before_a_pages(tmp_path: Path) -> None:
    file = write(tmp_path, f"url,image_url,label\nhttps://example.com/page,{CAT},cat\n")
    links, notes = read_links(file)
    assert links[0].request == CAT
    assert links[0].provenance == '{"url":"https://example.com/page"}'
    assert notes == [f"the links of {file} are taken from image_url, not from url"]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            "https://example.com/w_2,h_2/a.jpg,cat,x",
            "odd row",
            "4 fields under 3 columns; put a URL with commas in quotes",
        ),
        (f'"{CAT},cat,x', "odd row", "quotes do not fit"),
        (f'{CAT},"cat"s,x', "odd row", "quotes do not fit"),
        (",cat,x", "odd row", "no link"),
        ("example.com/a.jpg,cat", "not a URL", "put https:// before it"),
        (f"{CAT}", "no label", "empty"),
        (f"{CAT}, ,x", "no label", "empty"),
        (f"{CAT},a/b,x", "bad class name", "'/'"),
        (f"{CAT},..,x", "bad class name", "dot"),
    ],
)
def test_an_odd_row_is_named_and_the_others_are_read(
    tmp_path: Path, row: str, reason: str, detail: str
) -> None:
    content = f"url,label,note\n{CAT},cat,\n\n{row}\n{DOG},dog,\n"
    links, notes = read_links(write(tmp_path, content))
    assert notes == []
    assert [(link.request, link.reason) for link in links] == [(CAT, ""), ("", reason), (DOG, "")]
    assert links[1].detail.startswith("urls_cat.csv line 4: ")
    assert detail in links[1].detail


def test_a_semicolon_in_a_link_is_named_as_one(tmp_path: Path) -> None:
    links, _ = read_links(write(tmp_path, "url;label\nhttps://example.com/a;b;cat\n"))
    assert "put a URL with semicolons in quotes" in links[0].detail


def test_quotes_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    content = (
        'url,label,note\n"https://example.com/a,b",cat,"two\r\n# lines"\n'
        f'{CAT},"say ""hi""",\n{DOG},dog,5" wide\n'
    )
    links, _ = read_links(write(tmp_path, content))
    assert [link.request for link in links] == ["https://example.com/a,b", "", DOG]
    assert links[0].provenance == r'{"note":"two\n# lines"}'
    assert links[1].label == 'say "hi"'
    assert links[1].detail.startswith("urls_cat.csv line 4: ")  # as an editor counts them
    assert links[2].provenance == r'{"note":"5\" wide"}'


@pytest.mark.parametrize("open_row", ['"{0},cat,', '{0},"cat,', '{0},cat,"x', '{0},"cat'])
@pytest.mark.parametrize("after", ["", '"{1}",dog,"y"\n', '{1},"dog",y\n', '{1},dog,"y, z"\n'])
def test_a_quote_that_is_left_open_takes_no_other_row_along(
    tmp_path: Path, open_row: str, after: str
) -> None:
    others = [f"https://example.org/{n}" for n in range(200)]
    content = f"url,label,note\n{open_row}\n{after}".format(CAT, DOG)
    links, _ = read_links(write(tmp_path, content + "".join(f"{url},dog,\n" for url in others)))
    assert [link.reason for link in links if not link.request] == ["odd row"]
    assert links[0].detail.startswith("urls_cat.csv line 2: ")
    assert [link.request for link in links[1:]] == ([DOG] if after else []) + others
    assert {link.label for link in links[1:]} == {"dog"}


def test_a_quote_that_closes_lines_later_is_no_class(tmp_path: Path) -> None:
    content = f'url,label,note\n{CAT},"cat\n{DOG},dog,"\nhttps://example.org/3,dog,\n'
    links, _ = read_links(write(tmp_path, content))
    assert [link.reason for link in links] == ["odd row", "odd row", ""]


def test_a_quote_that_closes_in_another_row_takes_none_along(tmp_path: Path) -> None:
    content = f'url,label,note\n{CAT},cat,"\n{DOG},dog,\nhttps://example.org/3,dog,",x\n'
    links, _ = read_links(write(tmp_path, content))
    assert [(link.request, link.reason) for link in links] == [
        ("", "odd row"), (DOG, ""), ("", "odd row"),
    ]  # fmt: skip


def test_many_open_quotes_are_read_in_one_pass(tmp_path: Path) -> None:
    content = "url,label,note\n" + 'a","c\n' * 20_000  # seen from within quotes, they go on and on
    links, _ = read_links(write(tmp_path, content))
    assert [link.reason for link in links] == ["odd row"] * 20_000


# Classes.


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("urls_cat.csv", "cat"),
        ("urls-cat.txt", "cat"),
        ("URLS_Big Cat", "Big Cat"),
        ("Cat_URLs.lst", "Cat"),
        ("links_cat.tsv", "cat"),
        ("link-big-cat.txt", "big-cat"),
        ("big_cat_links.csv", "big_cat"),
        ("urls_hya\u0308ne.csv", "hyäne"),
        ("urls_a.b.csv", "a.b"),
    ],
)
def test_a_files_name_tells_the_class(tmp_path: Path, name: str, label: str) -> None:
    assert asked(write(tmp_path, CAT, name)) == [(CAT, label)]


@pytest.mark.parametrize(
    "name", ["cats.csv", "urls.csv", "urlscat.csv", "urls_.csv", "my_urls_x.csv"]
)
@pytest.mark.parametrize("content", [CAT, f"url\n{CAT}", f"url,note\n{CAT},cat"])
def test_a_file_that_tells_no_class(tmp_path: Path, name: str, content: str) -> None:
    file = write(tmp_path, content, name)
    with pytest.raises(UsageError) as caught:
        read_links(file)
    for part in (f"--class NAME={file}", "urls_NAME.csv", "a column label"):
        assert part in str(caught.value)
    assert read_links({"cat": file})[0][0].label == "cat"


BAD_NAMES = [
    "", " ", "a/b", "a\\b", "a\nb", "a\x1bb", "a\u202eb", "a\ud800", ".", "..", ".hidden", "cat.",
    "__MACOSX", "é" * 51, "a:b", "a*", "a?", 'a"b', "<a", "a>", "a|b", "CON", "nul", "Com1", "lpt9.txt",
    "aux .x", "COM¹",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_class_that_cannot_be_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a class"):
        read_links({name: [CAT]})
    if not set(name) & set('"\n') and name.isprintable():
        (link,), _ = read_links(write(tmp_path, f"url,label\n{CAT},{name}\n"))
        assert link.reason == ("bad class name" if name.strip() else "no label")
        assert (link.label, link.request) == (name.strip(), "")


def test_a_bad_class_in_a_files_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"urls_con\.csv"):
        read_links(write(tmp_path, CAT, "urls_con.csv"))
    file = write(tmp_path, f"url,label\n{CAT},cat\n", "urls_con.csv")
    assert asked(file) == [(CAT, "cat")]  # its name is not needed


@pytest.mark.parametrize(
    "name", ["console", "com", "a.b", "é" * 50, "Katze & Hund", "猫", "a__MACOSX"]
)
def test_a_class_that_can_be_a_folder(name: str) -> None:
    assert read_links({f" {name} ": [CAT]})[0][0].label == name


def test_classes_that_differ_only_in_case(tmp_path: Path) -> None:
    content = f"url,label\n{CAT},Cat\n{DOG},cat\n{DOG},dog\nftp://x/,DOG\n"
    _, notes = read_links(write(tmp_path, content))
    assert notes == ["the classes Cat and cat differ only in case; are they one?"]


# Many lists, and links that stand there twice.


def test_lists_keep_their_order(tmp_path: Path) -> None:
    first = write(tmp_path, f"{DOG}\n", "urls_dog.txt")
    second = write(tmp_path, f"{CAT}\n{DOG}\n", "urls_cat.txt")
    expected = [(DOG, "dog"), (CAT, "cat"), (DOG, "cat")]
    for sources in ([first, str(second)], (str(first), second), {"dog": first, "cat": str(second)}):
        links, notes = read_links(sources)
        assert [(link.request, link.label) for link in links] == expected
        assert notes == []
    assert [link.label for link in read_links(str(first))[0]] == ["dog"]


def test_links_that_are_given_directly() -> None:
    links, notes = read_links({"cat": [f" {CAT}\n", "", "1.jpg", float("nan")], "dog": (DOG,)})
    assert [(link.request, link.label) for link in links] == [
        (CAT, "cat"), ("", "cat"), ("", "cat"), (DOG, "dog"),
    ]  # fmt: skip
    assert links[1].detail.startswith("cat, link 3: ")
    assert (links[2].url, links[2].reason) == ("nan", "not a URL")
    assert links[2].detail == "cat, link 4: expected text, not float"
    assert notes == []


def test_a_link_that_stands_there_twice_is_one(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        f"url,label,n\n{CAT},cat,1\n{CAT},dog,2\n{CAT},cat,3\n {CAT},cat,4\nx,cat\n,cat\n,cat\nx,cat\n",
    )
    links, notes = read_links(file)
    assert [(link.url, link.label, link.provenance) for link in links[:3]] == [
        (CAT, "cat", '{"n":"1"}'), (CAT, "dog", '{"n":"2"}'), ("x", "cat", ""),
    ]  # fmt: skip
    assert [link.reason for link in links[3:]] == ["odd row"] * 2  # what they miss is not the same
    assert notes == [f"3 links of {file} repeat earlier ones; each is taken once"]


def test_a_link_that_stands_in_two_lists(tmp_path: Path) -> None:
    files = [write(tmp_path, CAT, "urls_cat.txt"), write(tmp_path, CAT, "cat_urls.txt")]
    links, notes = read_links(files)
    assert [link.request for link in links] == [CAT]
    assert notes == [f"1 links of {files[1]} repeat earlier ones; each is taken once"]


# What cannot be used as a whole.


def test_an_empty_list_among_others(tmp_path: Path) -> None:
    empty = write(tmp_path, "# nothing yet\n", "urls_dog.txt")
    links, notes = read_links([empty, write(tmp_path, CAT)])
    assert len(links) == 1
    assert notes == [f"{empty} holds no links"]


@pytest.mark.parametrize(
    "content", ["", "\n \n", "# cats\n", "url\n", "url,label\n\n,\n", "\ufeff"]
)
def test_no_links_at_all(tmp_path: Path, content: str) -> None:
    files = [write(tmp_path, content), write(tmp_path, "", "urls_dog.csv")]
    with pytest.raises(DatasetError, match=r"Expected a URL per line") as caught:
        read_links(files)
    assert all(str(file) in str(caught.value) for file in files)
    for nothing in ({}, [], {"cat": []}):
        with pytest.raises(DatasetError, match="cat" if nothing else "nothing"):
            read_links(nothing)


@pytest.mark.parametrize(
    ("content", "called", "label"),
    [(b"J\xe4ger \x96", "Windows-1252", "Jäger –"), (b"J\xe4ger \x81", "Latin-1", "Jäger \\x81")],
)
def test_a_list_that_is_not_utf8(tmp_path: Path, content: bytes, called: str, label: str) -> None:
    file = write(tmp_path, b"url,label\n" + CAT.encode() + b"," + content + b"\n")
    links, notes = read_links(file)
    assert links[0].label == label
    assert notes == [f"{file} is not UTF-8; read as {called}"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        f"{CAT}\n".encode("utf-16-le"),  # without its mark
        codecs.BOM_UTF16_LE + f"{CAT}\n".encode("utf-16-le")[:-1],
        f"\ufeff{CAT}\n".encode("utf-32-le"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    file = write(tmp_path, content)
    with pytest.raises(DatasetError, match=r"NUL bytes\. Save it as CSV in UTF-8") as caught:
        read_links(file)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for missing in (
        tmp_path / "urls_cat.csv",
        write(tmp_path, "", "file") / "urls_cat.csv",
        "a\0b",
    ):
        for sources in (missing, {"cat": missing}):
            with pytest.raises(UsageError, match="does not exist"):
                read_links(sources)
    (tmp_path / "urls_dog").mkdir()
    with pytest.raises(DatasetError, match="no file of links"):
        read_links(tmp_path / "urls_dog")
    os.mkfifo(tmp_path / "urls_pipe")
    with pytest.raises(DatasetError, match="no file of links"):  # and does not wait for a writer
        read_links(tmp_path / "urls_pipe")
    with pytest.raises(DatasetError, match="cannot be read: File name too long"):
        read_links("x" * 5_000)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "urls_disk.txt").open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(DatasetError, match="larger than 1 GiB"):
        read_links(tmp_path / "urls_disk.txt")


@pytest.mark.parametrize(
    "sources", [CAT, [CAT], {"cat": CAT}, 7, [7], {"cat": 7}, {7: [CAT]}, None]
)
def test_what_is_no_source(sources: object) -> None:
    with pytest.raises(UsageError):
        read_links(sources)  # type: ignore[arg-type]


# Laws.

FIELD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
PLAIN = st.text(string.ascii_letters + ",;'\" äß", min_size=1, max_size=8).map(lambda t: "k" + t)


@settings(max_examples=80)
@given(st.dictionaries(PLAIN, st.tuples(st.sampled_from(["cat", "Bär, groß"]), FIELD), min_size=1))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str, str]]
) -> None:
    text = io.StringIO()
    written = [(f"https://example.com/{path.strip()}", *rest) for path, rest in rows.items()]
    csv.writer(text).writerows([("url", "label", "note"), *written])
    links, _ = read_links(write(tmp_path_factory.mktemp("csv"), text.getvalue()))
    expected = list(dict.fromkeys((url, label) for url, label, _ in written))
    assert [(link.url, link.label) for link in links] == expected
    assert all(link.request for link in links)


LINES = st.lists(
    st.sampled_from([CAT, DOG, "url,label", "url", ",", ";", "\t", '"', "'", "<", "\n", "\r", "#", " "])
    | st.sampled_from(["cat", "\x1b", "\u2028", "\ufeff", "é", "\x0c", "http://", "x"]),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(st.one_of(LINES, LINES.map("url,label,note\n".__add__), st.binary(max_size=40)))
def test_any_file_is_links_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    try:
        links, notes = read_links(write(folder, content))
    except DatasetError:
        return
    for link in links:
        assert bool(link.request) == (not link.reason) == (not link.detail)
        assert (link.url + link.label + link.detail + link.provenance).isprintable()
        assert not link.request or request_url(link.request) == link.request
        assert not link.detail or link.detail.startswith("urls_cat.csv line ")
        assert not link.provenance or isinstance(json.loads(link.provenance), dict)
    asked_for = [(link.url, link.label) for link in links if link.request]
    assert len(set(asked_for)) == len(asked_for)
    assert all(note.isprintable() and not note.endswith(".") for note in notes)
