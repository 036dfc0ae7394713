"""The page's files: whole, small, unchanged where they are others', and free of other servers' names."""

import gzip
import hashlib
import re

import pytest
from starlette.testclient import TestClient

from web.static_files import STATIC, load, names

LARGEST_PAGE = 600_000


def test_vendored_files_are_those_that_their_readme_names() -> None:
    rows = re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (STATIC / "vendor/README.md").read_text())
    scripts = {path.name for path in (STATIC / "vendor").glob("*.js")}
    assert {name for name, _ in rows} == scripts and scripts
    for name, digest in rows:
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_the_page_weighs_at_most_600_kilobytes_packed() -> None:
    assert sum(len(load(name).packed) for name in names()) < LARGEST_PAGE


def test_own_files_name_no_other_server_and_hold_no_inline_script_or_style() -> None:
    for path in STATIC.glob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!localhost)", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text), path.name


def test_text_from_outside_never_becomes_markup() -> None:
    for path in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()), path


@pytest.mark.parametrize("name", sorted(names()))
def test_a_file_comes_packed_plain_or_not_again(client: TestClient, name: str) -> None:
    packed = client.get(f"/static/{name}", headers={"accept-encoding": "gzip"})
    plain = client.get(f"/static/{name}", headers={"accept-encoding": "identity"})
    assert packed.content == plain.content == (STATIC / name).read_bytes()
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert client.get(f"/static/{name}", headers={"if-none-match": plain.headers["etag"]}).status_code == 304
    assert gzip.decompress(load(name).packed) == plain.content
