"""Fetching the 3DSC release: resumed where it was cut, tried again, and checked before it gets its name."""

import hashlib
import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.archives import cifs_sha256
from tc_common.errors import UserError
from tc_common.files import sha256, sync

# The state of github.com/aimat-lab/3DSC "for publication", as its README names it. Git commits are hashes of content.
COMMIT = "2471dd51a298a854cb4f365ebd39e72c7cbf3634"
GITHUB_URL = f"https://codeload.github.com/aimat-lab/3DSC/tar.gz/{COMMIT}"
# The same release by its doi, 10.6084/m9.figshare.c.6914407.v1; figshare publishes each file's size and md5.
FIGSHARE_API = "https://api.figshare.com/v2"
FIGSHARE_COLLECTION = 6914407
ARCHIVE = "3DSC_MP.tar.gz"
# sha256 of `LC_ALL=C sha256sum *.cif` in cifs/, 10,904 files of upstream's repository. The content is pinned and not
# the archive, because GitHub packs archives anew and does not keep their bytes.
# The table 3DSC_MP.csv is not pinned: its sha256 is recorded in SOURCE.json and report.json, and `--sha256` pins both.
CIFS_SHA256 = "1261d1aad5685c57594e7c01d6106a9ecd7a39f0ab40b9597150889b0abcd480"

ATTEMPTS = 5
PAUSE_S = 2.0  # before the second attempt, twice as long before each further one
STALL_S = 30.0  # without a byte
LARGEST_DOWNLOAD_BYTES = 2_000_000_000
BLOCK_BYTES = 1 << 16
USER_AGENT = "supervision-data/1"
TRANSIENT = (OSError, http.client.HTTPException)  # URLError and timeouts are OSError


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file to fetch and what its publisher says of it."""

    url: str
    size: int | None = None
    md5: str | None = None


class _Refused(Exception):
    """An answer that trying again will not change."""


def fetch_3dsc(folder: Path, digest: str | None, url: str | None, pause_s: float = PAUSE_S) -> Path:
    """The 3DSC archive in `folder`, fetched if it is not there: GitHub first, then figshare.

    It is written beside its final name and renamed once its bytes have the sha256 `digest`, or, where that is None,
    its CIFs have `CIFS_SHA256`.

    Raises:
        UserError: no source answers, or what they give is not the release.
    """
    target = folder / ARCHIVE
    if target.is_file():
        _check_archive(target, digest)
        return target
    faults = []
    for name in ("url",) if url else ("github", "figshare"):
        try:
            remote = Remote(url=url) if url else _remote(name)
            partial = fetch(remote, folder / f".{ARCHIVE}.{name}.part", pause_s=pause_s)
            return _accept(partial, target, remote, digest)
        except UserError as error:
            faults.append(str(error))
    raise UserError(f"3DSC could not be fetched: {'; '.join(faults)}. Fetch it by hand and give --source PATH")


def _remote(name: str) -> Remote:
    return Remote(url=GITHUB_URL) if name == "github" else figshare_remote(FIGSHARE_API)


def _accept(partial: Path, target: Path, remote: Remote, digest: str | None) -> Path:
    """Rename what was fetched to its final name once it has proved to be the release; delete it otherwise."""
    try:
        if remote.md5 and _md5(partial) != remote.md5:
            raise UserError(f"{remote.url}: its md5 is not the published {remote.md5}")
        _check_archive(partial, digest)
    except UserError:
        partial.unlink()
        raise
    sync(partial)
    return partial.replace(target)


def _check_archive(archive: Path, digest: str | None) -> None:
    if digest is not None:
        if sha256(archive) != digest.lower():
            raise UserError(f"{archive}: its sha256 is {sha256(archive)}, not {digest}; remove it or mend --sha256")
    elif cifs_sha256(archive) != CIFS_SHA256:
        raise UserError(
            f"{archive}: its CIFs are not those of the release; if you trust it, give --sha256 {sha256(archive)}"
        )


def figshare_remote(api: str) -> Remote:
    """Ask figshare for the collection's file `3DSC_MP.tar.gz`.

    Raises:
        UserError: no answer, or no such file.
    """
    try:
        for article in _json(f"{api}/collections/{FIGSHARE_COLLECTION}/articles?page_size=100"):
            for file in _json(f"{api}/articles/{int(article['id'])}/files"):
                if file["name"] == ARCHIVE:
                    return Remote(url=str(file["download_url"]), size=int(file["size"]), md5=str(file["computed_md5"]))
    except (*TRANSIENT, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{api} gives no list of files ({error})") from error
    raise UserError(f"{api}: collection {FIGSHARE_COLLECTION} holds no {ARCHIVE}")


def _json(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(_request(url), timeout=STALL_S) as answer:
        content: list[dict[str, Any]] = json.loads(answer.read(10_000_000))
        return content


def fetch(
    remote: Remote, partial: Path, attempts: int = ATTEMPTS, pause_s: float = PAUSE_S, stall_s: float = STALL_S
) -> Path:
    """Fetch a file to `partial`, going on where a cut attempt stopped.

    Raises:
        UserError: it did not arrive whole in so many attempts, or the server refuses or lies about its size.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    fault = "never tried"
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _continue(remote, partial, stall_s)
            return partial
        except _Refused as refusal:
            partial.unlink(missing_ok=True)
            raise UserError(f"{remote.url}: {refusal}") from refusal
        except TRANSIENT as error:
            fault = str(error) or type(error).__name__
    raise UserError(f"{remote.url}: {fault}, {attempts} times")


def _request(url: str, headers: dict[str, str] | None = None) -> urllib.request.Request:
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", url):
        raise UserError(f"{url}: only https is fetched")
    return urllib.request.Request(url, headers={"User-Agent": USER_AGENT, **(headers or {})})  # noqa: S310 checked


def _continue(remote: Remote, partial: Path, stall_s: float) -> None:
    """One attempt: ask for what is missing and append it."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urllib.request.urlopen(_request(remote.url, headers), timeout=stall_s)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # longer than what is there: begin anew
        if error.code in (401, 403, 404, 410):
            raise _Refused(f"answers {error.code} {error.reason}") from error
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror):  # offline: waiting would not help
            raise _Refused("no network, or no such host") from error
        raise
    with answer:
        whole = _whole_size(answer, have)
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        _check_size(whole, remote.size)
        written = _append(answer, partial, have if resumed else 0, whole)
    if whole is not None and written < whole:
        raise ConnectionResetError(f"cut after {written} of {whole} bytes")


def _whole_size(answer: http.client.HTTPResponse, have: int) -> int | None:
    """Size of the whole file by the answer's headers; None where they do not say."""
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = answer.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if not match or int(match.group(1)) != have:
        raise _Refused("sends another part than was asked for")
    return int(match.group(2))


def _check_size(whole: int | None, published: int | None) -> None:
    if whole is not None and published is not None and whole != published:
        raise _Refused(f"has {whole} bytes, not the published {published}")
    if whole is not None and whole > LARGEST_DOWNLOAD_BYTES:
        raise _Refused(f"has {whole} bytes; more than {LARGEST_DOWNLOAD_BYTES}")


def _append(answer: http.client.HTTPResponse, partial: Path, start: int, whole: int | None) -> int:
    """Write the body after the first `start` bytes; give the length reached."""
    written = start
    with (
        partial.open("r+b" if start else "wb") as stream,
        tqdm(total=whole, initial=start, unit="B", unit_scale=True, desc=ARCHIVE, disable=None) as bar,
    ):
        stream.seek(start)
        while block := answer.read(BLOCK_BYTES):
            written += stream.write(block)
            bar.update(len(block))
            if written > (LARGEST_DOWNLOAD_BYTES if whole is None else whole):
                raise _Refused(f"sends more than the {whole or LARGEST_DOWNLOAD_BYTES} bytes it announced")
        stream.truncate()
    return written


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # what figshare publishes; guards against damage, not against malice
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
