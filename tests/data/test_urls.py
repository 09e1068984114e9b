"""What is asked for, made from what people paste, and what cannot be asked for."""

import pickle
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from tellapart.data.gather.urls import BadLink, request_url


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
