"""Downloads from a server that cuts, stalls and lies: the file arrives whole under its name, or not at all."""

import hashlib
import json
import socket
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tc_common import download as downloads
from tc_common.download import Remote, download, figshare_articles, figshare_files
from tc_common.errors import UserError
from tests.tc_common.server import Answer, Server, failure, rest, stall, whole

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    impatient = {"FIGSHARE_API": running.url, "ATTEMPTS": 3, "PAUSE_S": 0.01, "STALL_S": 0.2}
    for name, value in impatient.items():
        monkeypatch.setattr(downloads, name, value)
    yield running
    running.http.shutdown()
    running.http.server_close()


def get(server: Server, folder: Path, **stated: object) -> bytes:
    return download(Remote(url=f"{server.url}/x", **stated), folder / "x").read_bytes()  # type: ignore[arg-type]


def test_a_cut_download_is_continued(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT[:700], claimed=len(CONTENT)), rest(CONTENT)]
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/x", None), ("/x", "bytes=700-")]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT[:700], claimed=len(CONTENT)), whole(CONTENT)]
    assert get(server, tmp_path) == CONTENT


def test_a_download_interrupted_earlier_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(CONTENT[:1000])
    server.answers = [rest(CONTENT)]
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/x", "bytes=1000-")]


@pytest.mark.parametrize("trouble", [stall, failure(500), failure(503), failure(429)])
def test_passing_trouble_is_tried_again(server: Server, tmp_path: Path, trouble: Answer) -> None:
    server.answers = [trouble, whole(b"content")]
    assert get(server, tmp_path) == b"content"


def test_leftovers_longer_than_the_file_are_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(b"0" * 5000)
    server.answers = [failure(416), whole(b"content")]
    assert get(server, tmp_path) == b"content"


def test_lasting_trouble_is_one_line(server: Server, tmp_path: Path) -> None:
    server.answers = [stall]
    with pytest.raises(UserError, match="timed out, 3 times"):
        get(server, tmp_path)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([failure(404)], "404"),
        ([failure(403)], "403"),
        ([whole(b"", status=202)], "answers 202 instead of the file"),
        ([whole(b"")], "sends an empty file"),
        ([whole(b"0" * 100, claimed=10**13)], "more than"),
        ([whole(b"0" * 500, claimed=1000), rest(b"0" * 1000, skew=7)], "another part"),
    ],
)
def test_refusals_and_lies_are_not_tried_again(
    server: Server, tmp_path: Path, answers: list[Answer], reason: str
) -> None:
    server.answers = answers
    with pytest.raises(UserError, match=reason):
        get(server, tmp_path)
    assert len(server.asked) == len(answers)
    assert list(tmp_path.iterdir()) == []


def without_length(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "\xb2")  # a superscript two, which int() does not read
    request.end_headers()
    request.wfile.write(b"0" * 3000)


def test_a_file_of_unstated_size_stops_at_the_limit(server: Server, tmp_path: Path) -> None:
    server.answers = [without_length]
    with pytest.raises(UserError, match="sends more than 1000 bytes"):
        download(Remote(url=f"{server.url}/x"), tmp_path / "x", largest_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_size_md5_and_the_callers_own_check_come_before_the_name(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(CONTENT)]
    with pytest.raises(UserError, match="not the published 5"):
        get(server, tmp_path, size=5)
    with pytest.raises(UserError, match="came with MD5 [0-9a-f]{32}, not the published 0"):
        get(server, tmp_path, md5="0" * 32)

    def refuse(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise UserError("not what I want")

    with pytest.raises(UserError, match="not what I want"):
        download(Remote(url=f"{server.url}/x"), tmp_path / "x", check=refuse)
    assert list(tmp_path.iterdir()) == []
    assert get(server, tmp_path, size=len(CONTENT), md5=hashlib.md5(CONTENT).hexdigest()) == CONTENT  # noqa: S324


@pytest.mark.parametrize(
    "reason", [socket.gaierror(-3, "no name"), OSError(101, "Network is unreachable"), ConnectionRefusedError()]
)
def test_without_a_network_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: OSError) -> None:
    asked: list[object] = []
    slept: list[float] = []

    def offline(*args: object, **kwargs: object) -> None:
        asked.append(args)
        raise urllib.error.URLError(reason)

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr(downloads.time, "sleep", slept.append)
    with pytest.raises(UserError, match="no connection"):
        download(Remote(url="https://example.org/x"), tmp_path / "x")
    with pytest.raises(UserError, match="no connection"):
        figshare_files(1)
    assert len(asked) == 2 and slept == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://example.org/x", "data:,x", "x"])
def test_only_https_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="only https"):
        download(Remote(url=url), tmp_path / "x")


def test_a_redirection_away_from_https_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Redirected:
        url, status = "http://example.org/y", 200

    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: Redirected())
    with pytest.raises(UserError, match=r"http://example.org/y: only https"):
        download(Remote(url="https://example.org/x"), tmp_path / "x")


def listing(request: BaseHTTPRequestHandler) -> None:
    file = {"id": 42, "name": "a.zip", "size": 5, "computed_md5": "ab", "download_url": "https://x/42"}
    bodies = {"collections": [{"id": 7}], "articles": [file]}
    whole(json.dumps(bodies[request.path.split("/")[1]]).encode())(request)


def test_figshares_lists_are_read_by_a_client_with_a_browsers_name(server: Server) -> None:
    server.answers = [listing]
    assert figshare_articles(6914407) == [7]
    assert figshare_files(7) == {42: Remote(url="https://x/42", size=5, md5="ab", name="a.zip")}
    assert [path for path, _ in server.asked] == ["/collections/6914407/articles?page_size=100", "/articles/7/files"]
    (agent,) = server.agents
    assert agent.startswith("Mozilla/5.0")


@pytest.mark.parametrize(
    "body", [b"", b"no json", b'{"a": 1}', b"[{}]", b"[3]", b'[{"id": "x"}]', b"[" * 100_000], ids=lambda b: b[:9]
)
def test_any_other_answer_of_figshare_is_one_line(server: Server, body: bytes) -> None:
    server.answers = [whole(body)]
    for ask in (figshare_articles, figshare_files):
        with pytest.raises(UserError, match="gives no list of"):
            ask(1)
