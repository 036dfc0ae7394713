"""The 3DSC release: its archive gets its name once it is what was published."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from data import download
from data.archives import cifs_sha256
from data.download import ARCHIVE, fetch_3dsc
from tc_common import download as downloads
from tc_common.errors import UserError
from tests.tc_common.server import Server, failure, whole


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    monkeypatch.setattr(downloads, "FIGSHARE_API", running.url)
    monkeypatch.setattr(download, "GITHUB_URL", f"{running.url}/github")
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


def test_figshare_is_second_and_its_md5_is_checked(server: Server, tmp_path: Path, archive: bytes) -> None:
    def listing(request: BaseHTTPRequestHandler) -> None:
        other = {"id": 1, "name": "other.txt", "size": 1, "computed_md5": "", "download_url": "x"}
        file = {"size": len(archive), "computed_md5": md5, "download_url": f"{server.url}/file"}
        bodies = {"collections": [{"id": 7}], "articles": [other, other | file | {"id": 2, "name": ARCHIVE}]}
        whole(json.dumps(bodies[request.path.split("/")[1]]).encode())(request)

    digest = hashlib.sha256(archive).hexdigest()
    md5 = hashlib.md5(archive).hexdigest()  # noqa: S324
    server.answers = [failure(404), listing, listing, whole(archive)]
    assert fetch_3dsc(tmp_path / "a", digest, None).read_bytes() == archive
    md5 = "0" * 32
    server.asked.clear()
    with pytest.raises(UserError, match="404.*came with MD5 .* not the published"):
        fetch_3dsc(tmp_path / "b", digest, None)
    assert list((tmp_path / "b").iterdir()) == []


def test_a_collection_without_the_archive_is_one_line(server: Server, tmp_path: Path) -> None:
    server.answers = [failure(404), whole(b"[]")]
    with pytest.raises(UserError, match="404.*holds no 3DSC_MP.tar.gz.*--source PATH"):
        fetch_3dsc(tmp_path, None, None)
