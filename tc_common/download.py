"""Download a file: resumed where it was cut, tried again, limited in size, and checked before it gets its name.

Not by `pooch`: its `HTTPDownloader` begins a cut download anew, has no limit of size and follows any scheme, so that
most of this file would still be needed.
"""

import errno
import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tc_common.errors import UserError
from tc_common.files import hexdigest, sync

ATTEMPTS = 5
PAUSE_S = 2.0  # before the second attempt, twice as long before each further one
STALL_S = 30.0  # without a byte
LARGEST_BYTES = 2_000_000_000
LARGEST_LISTING_BYTES = 10_000_000
BLOCK_BYTES = 1 << 16
# figshare answers clients without a browser's name with an empty page (github.com/usnistgov/alignn, issue 194)
USER_AGENT = "Mozilla/5.0 (SuperVision)"
FIGSHARE_API = "https://api.figshare.com/v2"
TRANSIENT = (OSError, http.client.HTTPException)  # URLError and timeouts are OSError
LASTING_STATUS = (401, 403, 404, 410)
# Without a network, or with a wrong clock or certificate, waiting would not help.
LASTING_REASON = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH)


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file to download and what its publisher states about it."""

    url: str
    size: int | None = None
    md5: str | None = None
    name: str = ""


class _Refused(Exception):
    """An answer that trying again will not change."""


def download(
    remote: Remote,
    path: Path,
    *,
    partial: Path | None = None,
    check: Callable[[Path], None] | None = None,
    largest_bytes: int = LARGEST_BYTES,
) -> Path:
    """Store a remote file as `path`, whole and checked or not at all; what is there already is replaced.

    Args:
        partial: where the bytes are collected; a leftover of an interrupted download is continued.
        check: called with the whole file before it gets its name; raises UserError to refuse it.

    Raises:
        UserError: it did not arrive whole in `ATTEMPTS` attempts, the server refuses it or lies about its size, its
            MD5 is not the published one, it is larger than `largest_bytes`, or `check` refuses it.
    """
    partial = partial or path.with_name(f".{path.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    _fetch(remote, partial, largest_bytes)
    try:
        # figshare publishes MD5, which guards against damage, not against malice
        if remote.md5 and (digest := hexdigest(partial, hashlib.md5(usedforsecurity=False))) != remote.md5:
            raise UserError(f"{remote.url} came with MD5 {digest}, not the published {remote.md5}")
        if check is not None:
            check(partial)
    except UserError:
        partial.unlink()
        raise
    sync(partial)
    return partial.replace(path)


def figshare_files(article: int) -> dict[int, Remote]:
    """Files of a figshare article by their number, with the size and the MD5 that figshare publishes.

    Raises:
        UserError: no answer, or one that is no list of files.
    """
    url = f"{FIGSHARE_API}/articles/{article}/files"
    try:
        return {
            int(file["id"]): Remote(
                url=str(file["download_url"]),
                size=int(file["size"]),
                md5=str(file["computed_md5"]),
                name=str(file["name"]),
            )
            for file in _json(url)
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{url} gives no list of files ({error})") from error


def figshare_articles(collection: int) -> list[int]:
    """Numbers of the articles in a figshare collection.

    Raises:
        UserError: no answer, or one that is no list of articles.
    """
    url = f"{FIGSHARE_API}/collections/{collection}/articles?page_size=100"
    try:
        return [int(article["id"]) for article in _json(url)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{url} gives no list of articles ({error})") from error


def _json(url: str) -> Any:
    try:
        with _open(url) as answer:
            return json.loads(answer.read(LARGEST_LISTING_BYTES))
    except (_Refused, *TRANSIENT) as error:
        raise UserError(f"{url}: {error or type(error).__name__}") from error


def _fetch(remote: Remote, partial: Path, largest_bytes: int) -> None:
    """Download to `partial`, continuing where an attempt was cut."""
    fault = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _continue(remote, partial, largest_bytes)
            return
        except _Refused as refusal:
            partial.unlink(missing_ok=True)
            raise UserError(f"{remote.url}: {refusal}") from refusal
        except TRANSIENT as error:
            fault = str(error) or type(error).__name__
    raise UserError(f"{remote.url}: {fault}, {ATTEMPTS} times")


def _continue(remote: Remote, partial: Path, largest_bytes: int) -> None:
    """One attempt: ask for what is missing and append it."""
    have = partial.stat().st_size if partial.exists() else 0
    try:
        answer = _open(remote.url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # longer than what is there: begin anew
        raise
    with answer:
        whole = _whole_size(answer, have)
        _check_size(whole, remote.size, largest_bytes)
        start = have if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        written = _append(answer, partial, start, whole, largest_bytes)
    if whole is not None and written < whole:
        raise ConnectionResetError(f"cut after {written} of {whole} bytes")
    if not written:
        raise _Refused("sends an empty file")


def _open(url: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """Send a request; an answer, which may be one to continue with."""
    _require_https(url)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, **(headers or {})})  # noqa: S310 checked
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=STALL_S)
    except urllib.error.HTTPError as error:
        if error.code in LASTING_STATUS:
            raise _Refused(f"answers {error.code} {error.reason}") from error
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, LASTING_REASON) or getattr(error.reason, "errno", None) in NO_ROUTE:
            raise _Refused(f"no connection ({error.reason})") from error
        raise
    _require_https(answer.url)  # it may have been redirected
    if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.PARTIAL_CONTENT):
        raise _Refused(f"answers {answer.status} instead of the file")
    return answer


def _require_https(url: str) -> None:
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", url):
        raise UserError(f"{url}: only https is fetched")


def _whole_size(answer: http.client.HTTPResponse, have: int) -> int | None:
    """Size of the whole file by the answer's headers; None where they do not say."""
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", answer.headers.get("Content-Range", ""))
    if not match or int(match[1]) != have:
        raise _Refused("sends another part than was asked for")
    return int(match[2])


def _check_size(whole: int | None, published: int | None, largest_bytes: int) -> None:
    if whole is not None and published is not None and whole != published:
        raise _Refused(f"has {whole} bytes, not the published {published}")
    if whole is not None and whole > largest_bytes:
        raise _Refused(f"has {whole} bytes; more than {largest_bytes} are not fetched")


def _append(answer: http.client.HTTPResponse, partial: Path, start: int, whole: int | None, largest_bytes: int) -> int:
    """Write the body after the first `start` bytes; give the length reached."""
    limit, written = largest_bytes if whole is None else whole, start
    with (
        partial.open("r+b" if start else "wb") as stream,
        tqdm(total=whole, initial=start, unit="B", unit_scale=True, desc="download", leave=False, disable=None) as bar,
    ):
        stream.seek(start)
        while block := answer.read(BLOCK_BYTES):
            written += stream.write(block)
            bar.update(len(block))
            if written > limit:
                raise _Refused(f"sends more than {limit} bytes")
        stream.truncate()
    return written
