"""Downloads from a server that cuts, stalls and lies: the archive arrives whole under its name, or not at all."""

import hashlib
import io
import json
import socket
import tarfile
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data import download
from data.archives import cifs_sha256
from data.download import ARCHIVE, Remote, fetch, fetch_3dsc, figshare_remote
from tc_common.errors import UserError

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers the n-th request with the n-th answer (the last one from then on) and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Range")))
                server.answers[min(len(server.asked), len(server.answers)) - 1](self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    path = tmp_path / "made" / "a.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("MP/3DSC_MP.csv", b"table"), ("MP/cifs/a.cif", bytes(range(256)) * 2000)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.5)


def whole(content: bytes, claimed: int | None = None, status: int = 200) -> Answer:
    """All of the content, whatever was asked; `claimed` is the length it announces."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if claimed is None else claimed))
        request.end_headers()
        request.wfile.write(content)

    return answer


def rest(content: bytes, skew: int = 0) -> Answer:
    """What `Range: bytes=N-` asks for; `skew` starts it elsewhere and says so."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")) + skew
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(content[start:])

    return answer


def failure(status: int) -> Answer:
    return lambda request: request.send_error(status)


def stall(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"abc")
    request.wfile.flush()
    time.sleep(1.5)


def get(server: Server, folder: Path, attempts: int = 3) -> bytes:
    remote = Remote(url=f"{server.url}/x")
    return fetch(remote, folder / "x.part", attempts=attempts, pause_s=0.01, stall_s=0.3).read_bytes()


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, archive: bytes) -> None:
    server.answers = [whole(archive[:700], claimed=len(archive)), rest(archive)]
    assert get(server, tmp_path) == archive
    assert server.asked == [("/x", None), ("/x", "bytes=700-")]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path, archive: bytes) -> None:
    server.answers = [whole(archive[:700], claimed=len(archive)), whole(archive)]
    assert get(server, tmp_path) == archive


def test_a_download_interrupted_earlier_is_resumed(server: Server, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "x.part").write_bytes(archive[:1000])
    server.answers = [rest(archive)]
    assert get(server, tmp_path) == archive
    assert server.asked == [("/x", "bytes=1000-")]


@pytest.mark.parametrize("trouble", [stall, failure(500), failure(503), failure(429)])
def test_passing_trouble_is_tried_again(server: Server, tmp_path: Path, trouble: Answer) -> None:
    server.answers = [trouble, whole(b"content")]
    assert get(server, tmp_path) == b"content"


def test_leftovers_longer_than_the_file_are_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"0" * 5000)
    server.answers = [failure(416), whole(b"content")]
    assert get(server, tmp_path) == b"content"


def test_lasting_trouble_is_told_in_one_line(server: Server, tmp_path: Path) -> None:
    server.answers = [stall]
    with pytest.raises(UserError, match="timed out, 2 times"):
        get(server, tmp_path, attempts=2)
    server.http.server_close()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([failure(404)], "404"),
        ([failure(403)], "403"),
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
    assert not (tmp_path / "x.part").exists()


def test_without_a_network_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    def never(*_: object) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr(time, "sleep", never)
    with pytest.raises(UserError, match="no network.*gives no list.*--source PATH"):
        fetch_3dsc(tmp_path, None, None)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://example.org/x", "data:,x", "x"])
def test_only_https_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="only https"):
        fetch(Remote(url=url), tmp_path / "x.part")


def test_the_release_gets_its_name_once_its_sha256_is_right(server: Server, tmp_path: Path, archive: bytes) -> None:
    server.answers = [whole(archive)]
    digest = hashlib.sha256(archive).hexdigest()
    path = fetch_3dsc(tmp_path / "raw", digest.upper(), f"{server.url}/mirror")
    assert (path.name, path.read_bytes()) == (ARCHIVE, archive)
    assert [p.name for p in path.parent.iterdir()] == [ARCHIVE]
    assert fetch_3dsc(tmp_path / "raw", digest, f"{server.url}/mirror") == path
    assert len(server.asked) == 1, "an archive that is there and right is not fetched again"


def test_cifs_are_checked_where_no_sha256_is_given(
    server: Server, tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [whole(archive)]
    with pytest.raises(UserError, match="not those of the release.*--sha256 [0-9a-f]{64}"):
        fetch_3dsc(tmp_path / "raw", None, f"{server.url}/x")
    monkeypatch.setattr(download, "CIFS_SHA256", cifs_sha256(tmp_path / "made" / "a.tar.gz"))
    assert fetch_3dsc(tmp_path / "raw", None, f"{server.url}/x").read_bytes() == archive


@pytest.mark.parametrize("damage", ["cut", "html", "other"])
def test_a_wrong_archive_never_gets_the_final_name(
    server: Server, tmp_path: Path, archive: bytes, damage: str
) -> None:
    content = {"cut": archive[:-200], "html": b"<html>sign in</html>", "other": archive + b"0"}[damage]
    server.answers = [whole(content)]
    with pytest.raises(UserError, match="sha256 is|cut off"):
        fetch_3dsc(
            tmp_path / "raw", hashlib.sha256(archive).hexdigest() if damage == "other" else None, f"{server.url}/x"
        )
    assert list((tmp_path / "raw").iterdir()) == []


def test_figshare_is_second_and_its_md5_is_checked(
    server: Server, tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing(request: BaseHTTPRequestHandler) -> None:
        file = {"name": ARCHIVE, "size": len(archive), "computed_md5": md5, "download_url": f"{server.url}/file"}
        bodies = {"collections": [{"id": 7}], "articles": [{"name": "other.txt"}, file]}
        whole(json.dumps(bodies[request.path.split("/")[1]]).encode())(request)

    monkeypatch.setattr(download, "FIGSHARE_API", server.url)
    monkeypatch.setattr(download, "GITHUB_URL", f"{server.url}/github")
    digest = hashlib.sha256(archive).hexdigest()
    md5 = hashlib.md5(archive).hexdigest()  # noqa: S324
    server.answers = [failure(404), listing, listing, whole(archive)]
    assert fetch_3dsc(tmp_path / "a", digest, None, pause_s=0.01).read_bytes() == archive
    md5 = "0" * 32
    server.asked.clear()
    with pytest.raises(UserError, match="404.*md5 is not the published"):
        fetch_3dsc(tmp_path / "b", digest, None, pause_s=0.01)
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b"[{}]", b"[]", b'[{"id": "x"}]'])
def test_any_answer_of_figshare_is_understood_or_told(server: Server, body: bytes) -> None:
    server.answers = [whole(body)]
    with pytest.raises(UserError, match="gives no list of files|holds no"):
        figshare_remote(server.url)


def test_a_size_other_than_the_published_one_is_refused(server: Server, tmp_path: Path, archive: bytes) -> None:
    server.answers = [whole(archive)]
    with pytest.raises(UserError, match="not the published 5"):
        fetch(Remote(url=f"{server.url}/x", size=5), tmp_path / "x.part")
