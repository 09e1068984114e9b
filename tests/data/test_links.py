"""Lists of links as people have them: what is asked for, in which class, and what is wrong with the rest."""

import codecs
import csv
import io
import json
import os
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellapart.data.gather.links import Link, read_links
from tellapart.data.gather.urls import request_url
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
    assert notes == [f"in 4 lines of {file} the rest of the line after the link is ignored"]


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
    assert notes == [f"{file}: the links are taken from its column image_url"]


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
        (f"{CAT}", "no label", "its label is empty"),
        (f"{CAT}, ,x", "no label", "its label is empty"),
        (f"{CAT},a/b,x", "bad class name", "a class cannot be called 'a/b': no '/' in it"),
        (f"{CAT},../x,x", "bad class name", "a class cannot be called '../x': no '/' in it"),
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


# Which column holds the links.


@pytest.mark.parametrize(
    "name",
    [
        "Image URL", "image-link", "Image Url", "ImageURL", "imageUrl", "imageurl", "IMAGE_LINK",
        '"image url"', "\ufeff\ufeffurl", "File URL", "original_url", "large-url", "sample_url",
        "URLs", "image-src", "OriginalURL",
    ],
)  # fmt: skip
def test_names_of_the_column_of_links(tmp_path: Path, name: str) -> None:
    content = f"{name},Photographer\n{CAT},Ann\n{DOG},Bob\n"
    links, notes = read_links(write(tmp_path, content))
    assert [(link.request, link.label) for link in links] == [(CAT, "cat"), (DOG, "cat")]
    assert links[0].provenance == '{"photographer":"Ann"}'
    assert notes == []


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("id,created_at,source,sample_url,file_url,preview_url", "file_url"),
        ("url,Image URL,page_url", "Image URL"),
        ("link,image-src,web-scraper-start-url", "image-src"),
        ("large_url,original_url,url", "original_url"),
        ("preview_url,sample_url,id", "sample_url"),
        # by the end of the name
        ("photo_url,photo_image_url,photographer_url", "photo_image_url"),
        ("small_url,regular_url,full_url,thumb_url", "full_url"),
        ("page_url,cover_link,thumbnail_link", "cover_link"),
        ("Source URL,Picture Link,Author URL", "Picture Link"),
    ],
)
def test_of_many_columns_the_largest_picture(tmp_path: Path, header: str, column: str) -> None:
    names = header.split(",")
    row = ",".join(CAT if name == column else "https://example.org/x" for name in names)
    file = write(tmp_path, f"{header}\n{row}\n")
    links, notes = read_links(file)
    assert [link.request for link in links] == [CAT]
    assert notes == [f"{file}: the links are taken from its column {column}"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_header_without_a_column_of_links(tmp_path: Path, delimiter: str) -> None:
    header = ("Photo", "Photographer")
    content = delimiter.join(header) + "\n\n" + delimiter.join((CAT, "Ann")) + "\n"
    for sources in (write(tmp_path, content), {"dog": write(tmp_path, content)}):
        with pytest.raises(UsageError) as caught:
            read_links(sources)
        assert str(caught.value) == (
            f"{tmp_path / 'urls_cat.csv'}: its first line looks like a header (Photo, Photographer), "
            "but no column is called url. Rename the column with the links to url."
        )


@pytest.mark.parametrize(
    "header", ["Photo,page_url", "Photo,preview_url,Source URL", "see the link,Photo,by", '"a,b",c']
)
def test_other_headers_without_a_column_of_links(tmp_path: Path, header: str) -> None:
    filler = ",x" * header.replace('"a,b"', "a").count(",")
    for link in (CAT, "//example.com/1.jpg"):
        row = f"y,{link}{filler[2:]}" if "see" in header else f'"{link}"{filler}'
        file = write(tmp_path, f"{header}\n{row}\n", "photos.csv")
        with pytest.raises(UsageError, match=r"photos\.csv: its first line looks like a header"):
            read_links(file)


@pytest.mark.parametrize("rows", ["", f"{CAT},cat\n", "x,cat\n"])
def test_labels_without_links(tmp_path: Path, rows: str) -> None:
    file = write(tmp_path, f"Photo,Label\n{rows}", "links.csv")
    with pytest.raises(UsageError, match=r"links\.csv: no column of links; call it url$"):
        read_links(file)


@pytest.mark.parametrize(
    "first",
    [
        "my favourite cats",
        "My favourites, 2020",
        "Cats, see the link",
        "www.example.com/w_200,h_200/0.jpg",
        "0.jpg,cat.jpg",
    ],
)
@pytest.mark.parametrize("others", [[CAT, DOG], ["https://example.com/a_2/3.jpg", DOG]])
def test_nonsense_before_links_is_one_lost_line(
    tmp_path: Path, first: str, others: list[str]
) -> None:
    links, notes = read_links(write(tmp_path, "\n".join([first, *others])))
    assert [link.request for link in links] == ["", *others]
    assert links[0].reason == "not a URL"
    assert notes == []


def test_an_address_before_links_with_commas_is_no_header(tmp_path: Path) -> None:
    links, _ = read_links(write(tmp_path, "example.com/w_2,h_2/0.jpg\nhttps://a.org/w_2,h_2/1.jpg"))
    assert [link.reason for link in links] == ["not a URL", ""]


# Tables without a header.


@pytest.mark.parametrize("end", [",{}", ", {}", ";{}", ' , "{}"'])
@pytest.mark.parametrize("name", ["list.csv", "urls_pets.csv", "urls_con.csv"])
def test_links_and_words_are_links_and_classes(tmp_path: Path, end: str, name: str) -> None:
    content = f"# pets\n{CAT}{end.format('cat')}\n\n<{DOG}>{end.format('big dog')}\n"
    file = write(tmp_path, content, name)
    links, notes = read_links(file)
    assert [(link.request, link.label) for link in links] == [(CAT, "cat"), (DOG, "big dog")]
    assert {link.provenance for link in links} == {""}
    taken = "what stands behind its links is taken for their class (2 classes)"
    assert notes == [f"{file} has no header; {taken}"]


@pytest.mark.parametrize(
    "content", [f"{CAT},cat\n{DOG},cat\n", f"{CAT},cat\n{DOG};v=2,cat", f'"{CAT}",cat']
)
def test_a_word_that_is_the_class_already(tmp_path: Path, content: str) -> None:
    file = write(tmp_path, content)
    for sources in (file, {"cat": file}):
        links, notes = read_links(sources)
        assert links[0].request == CAT
        assert {link.label for link in links} == {"cat"}
        assert not any(",cat" in link.request for link in links)
        assert notes == []


@pytest.mark.parametrize("count", [1, 3])
def test_one_word_that_is_not_the_class(tmp_path: Path, count: int) -> None:
    content = "".join(f"https://example.com/{n}.jpg,Ann\n" for n in range(count))
    file = write(tmp_path, content)
    links, notes = read_links(file)
    assert [link.request for link in links] == [
        f"https://example.com/{n}.jpg" for n in range(count)
    ]
    assert {(link.label, link.provenance) for link in links} == {("cat", '{"column 2":"Ann"}')}
    kept = "Ann is no part of its links, and kept as a further column"
    assert notes == [f"{file} has no header; {kept}"]
    links, _ = read_links(write(tmp_path, content, "links.csv"))  # nothing else tells the class
    assert {(link.label, link.provenance) for link in links} == {("Ann", "")}


def test_a_class_that_is_given_goes_before_words(tmp_path: Path) -> None:
    links, notes = read_links({"animal": write(tmp_path, f"{CAT},cat\n{DOG},dog\n")})
    assert [(link.request, link.label) for link in links] == [(CAT, "animal"), (DOG, "animal")]
    assert links[0].provenance == '{"column 2":"cat"}'
    assert len(notes) == 1


def test_captions_are_no_classes(tmp_path: Path) -> None:
    rows = [f"https://example.com/{n}.jpg,a cat that is called {n}" for n in range(50)]
    links, notes = read_links(write(tmp_path, "\n".join(rows)))
    assert {link.label for link in links} == {"cat"}
    assert links[1].request == "https://example.com/1.jpg"
    assert json.loads(links[1].provenance) == {"column 2": "a cat that is called 1"}
    assert len(notes) == 1


@pytest.mark.parametrize(
    "end",
    [
        "w_200,h_{}/a.jpg", "a.jpg?resize=640,{}", "w_200,h_{}", "random?nature,water", "a,b{}.jpg",
        "a;v={}.jpg", "a.jpg;jsessionid={}", "a,b,c{}", "a.jpg?x=1,2&y={}", "a_{},", "full/200,/{}/b",
    ],
)  # fmt: skip
def test_links_with_commas_stay_whole(tmp_path: Path, end: str) -> None:
    links = list(dict.fromkeys(f"https://example.com/{end.format(n)}" for n in (100, 101, 102)))
    if "?nature" in end:
        links.append(f"{links[0]}way")
    assert asked(write(tmp_path, "\n".join(links))) == [(link, "cat") for link in links]


def test_one_link_with_more_behind_it_makes_no_table(tmp_path: Path) -> None:
    links = [f"{CAT},x", DOG]
    assert asked(write(tmp_path, "\n".join(links))) == [(link, "cat") for link in links]


def test_numbers_behind_names_of_files_are_classes(tmp_path: Path) -> None:
    links, _ = read_links(write(tmp_path, f"{CAT},0\n{DOG},1\n"))
    assert [(link.request, link.label) for link in links] == [(CAT, "0"), (DOG, "1")]


# Links as pages have them.


def test_links_without_a_scheme_are_asked_for_by_https(tmp_path: Path) -> None:
    bare = "//Example.com/1.jpg"
    for content in (bare, f"url,label\n{bare},cat", f"{bare},cat", f"1\t{bare}", f'"{bare}"'):
        (link,), _ = read_links(write(tmp_path, content))
        assert (link.url, link.request, link.label) == (bare, CAT, "cat")
    (link,), _ = read_links({"cat": [f" {bare} "]})
    assert (link.url, link.request) == (bare, CAT)
    links, _ = read_links({"cat": ["// cats", "///1.jpg", "/1.jpg", "//"]})
    assert {link.reason for link in links} == {"not a URL"}


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
        ("urls_cat (1).csv", "cat"),  # as a browser calls the second download
        ("urls_cat(2).csv", "cat"),
        ("cat_urls (12).txt", "cat"),
        ("urls_cat.csv.txt", "cat"),
        ("urls_cat.txt.csv", "cat"),
        ("urls_cat.csv (1).TXT", "cat"),
        ("urls_cat (1).csv.txt", "cat"),
        ("urls_cat (tabby).csv", "cat (tabby)"),
    ],
)
def test_a_files_name_tells_the_class(tmp_path: Path, name: str, label: str) -> None:
    assert asked(write(tmp_path, CAT, name)) == [(CAT, label)]


@pytest.mark.parametrize(
    "name", ["cats.csv", "urls.csv", "urlscat.csv", "urls_.csv", "urls (1).csv", "my_urls_x.csv"]
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
    with pytest.raises(UsageError, match="A class cannot be called"):
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
    assert notes == [
        "the classes Cat and cat differ only in case; if they are one, spell them alike"
    ]


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
    assert notes == [f"1 link of {files[1]} repeats an earlier one; it is taken once"]


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
    with pytest.raises(UsageError, match=r"Expected a URL per line") as caught:
        read_links(files)
    assert all(str(file) in str(caught.value) for file in files)
    for nothing in ({}, [], {"cat": []}):
        with pytest.raises(UsageError, match="cat" if nothing else "nothing"):
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
    with pytest.raises(UsageError, match=r"NUL bytes\. Save it as CSV in UTF-8") as caught:
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
    with pytest.raises(UsageError, match="is a folder"):
        read_links(tmp_path / "urls_dog")
    os.mkfifo(tmp_path / "urls_pipe")
    with pytest.raises(UsageError, match="no file of links"):  # and does not wait for a writer
        read_links(tmp_path / "urls_pipe")
    with pytest.raises(DatasetError, match="cannot be read: File name too long"):
        read_links("x" * 5_000)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"PK\x03\x04\x14\0[Content_Types].xml\0xl/workbook.xml", "urls_book.csv", "a spreadsheet"),
        (b"PK\x03\x04\x14\0", "urls_book.xlsx", "a spreadsheet; save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "urls_book.txt", "a spreadsheet; save it as CSV"),
        (b"PK\x03\x04urls_cat.csv", "urls_cat.csv", "an archive; unpack it"),
        (b"%PDF-1.7\n", "urls_cat.csv", "a PDF; copy its links"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes, name: str, expected: str) -> None:
    file = write(tmp_path, content, name)
    with pytest.raises(UsageError) as caught:
        read_links(file)
    assert str(caught.value).startswith(f"{file} is {expected}")


@pytest.mark.parametrize("link", ["http://a.org/1.jpg", "HTTPS://a.org/w_2,h_2/{1}.jpg"])
def test_a_link_in_place_of_a_file(link: str) -> None:
    fault = f"{link} is a link; put it into a text file, one link a line, and give the file"
    for sources in (link, [link], Path(link), [Path(link)]):  # a path has one slash of the two
        with pytest.raises(UsageError) as caught:
            read_links(sources)
        assert str(caught.value) == fault
    with pytest.raises(UsageError) as caught:
        read_links({"cat": link})
    assert str(caught.value) == f'{fault}, or give a list: ["{link}"]'


def test_a_class_in_front_of_a_file(tmp_path: Path) -> None:
    for file in ("anime=urls_anime.csv", Path("anime=urls_anime.csv")):
        with pytest.raises(UsageError) as caught:
            read_links([file])
        expected = "anime=urls_anime.csv does not exist. Did you mean --class anime=urls_anime.csv?"
        assert str(caught.value) == expected
    assert asked(write(tmp_path, CAT, "urls_a=b.csv")) == [(CAT, "a=b")]


def test_a_class_name_is_refused_in_few_words() -> None:
    with pytest.raises(UsageError) as caught:
        read_links({"../x": [CAT]})
    assert str(caught.value) == "A class cannot be called '../x': no '/' in it."


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, CAT)
    file.chmod(0)
    with pytest.raises(DatasetError, match="Allow reading it"):
        read_links(file)


def test_one_line_with_more_than_a_link(tmp_path: Path) -> None:
    file = write(tmp_path, f"{CAT}\ta cat\n{DOG}\n")
    assert read_links(file)[1] == [
        f"in 1 line of {file} the rest of the line after the link is ignored"
    ]


def test_a_list_with_a_mark_of_utf8_that_is_not_utf8(tmp_path: Path) -> None:
    file = write(tmp_path, codecs.BOM_UTF8 + b"url,by\n" + CAT.encode() + b",J\xe4ger\n")
    assert read_links(file)[0][0].provenance == '{"by":"Jäger"}'


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "urls_disk.txt").open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(UsageError, match="larger than 1 GiB"):
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
    | st.sampled_from(["cat", "\x1b", "\u2028", "\ufeff", "é", "\x0c", "http://", "x"])
    | st.sampled_from(["dog", f"\n{CAT},dog\n", "//a.org/1", "photo url", "Photo,By\n"]),
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
    except UsageError:
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
