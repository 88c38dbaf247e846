"""Reports as one file: pictures inside, nothing that runs or is fetched."""

import base64
from html.parser import HTMLParser

import pytest

from emonet_lightning.errors import MissingInputError, OutputError
from emonet_lightning.reporting.html_page import Chapter, html_page

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class Seen(HTMLParser):
    """Tags with their attributes, and text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_a_page_holds_its_pictures_and_obeys_no_html_of_a_report(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a b.png").write_bytes(PNG)
    text = "![one](<figures/a b.png>)\n\n| rater | n |\n| --- | --- |\n| <script>alert(1)</script> | 3 |\n"
    page = html_page("Two <parts>", [Chapter("First", text, tmp_path), Chapter("Details", "*more*", tmp_path, True)])
    seen = Seen(page)
    names = [tag for tag, _ in seen.tags]
    assert names.count("section") == 2
    assert {"table", "img", "details", "em"} <= set(names)
    assert "script" not in names
    assert "<script>alert(1)</script>" in seen.text
    (image,) = [attributes["src"] for tag, attributes in seen.tags if tag == "img"]
    assert base64.b64decode(image.removeprefix("data:image/png;base64,")) == PNG
    targets = [attributes["href"] for tag, attributes in seen.tags if tag == "a"]
    assert targets == [f"#{attributes['id']}" for tag, attributes in seen.tags if tag == "section"]
    assert "http" not in page


def test_pictures_that_are_missing_or_elsewhere_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.png").write_bytes(PNG)
    with pytest.raises(MissingInputError, match=r"none\.png: the picture is not there"):
        html_page("x", [Chapter("x", "![](none.png)", tmp_path / "in")])
    for source in ("../out.png", "http://host/a.png", "a.txt"):
        with pytest.raises(OutputError, match="no picture in its folder"):
            html_page("x", [Chapter("x", f"![]({source})", tmp_path / "in")])
