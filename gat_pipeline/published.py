"""Weights that the authors of ALIGNN publish: where they lie, how to fetch them, what graphs they were trained on."""

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO

from gat_pipeline.graphs import GraphOptions
from tc_common.cli import log
from tc_common.errors import UserError
from tc_common.files import atomic_write, sha256, write_json

LARGEST_DOWNLOAD_BYTES = 500_000_000
TIMEOUT_S = 30
FIGSHARE_API = "https://api.figshare.com/v2/articles"
# alignn 2.0 models: bonds within 5 Å, angles between bonds up to 3.5 Å (alignn/pretrained.py, alignn/graphs.py)
RADIUS_GRAPH = GraphOptions(rule="radius", cutoff_A=5.0, angle_cutoff_A=3.5)


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published model."""

    url: str
    """A zip with the checkpoint in it."""
    property: str
    """What it predicts."""
    article: int | None = None
    """Figshare article, whose file list states an MD5 (None: not known)."""
    options: GraphOptions = field(default_factory=GraphOptions)
    """Graphs it was trained on."""


# Links as in alignn 2026.8.11: alignn/deprecated/pretrained.py and alignn/pretrained.py.
PUBLISHED = {
    "mp_e_form_alignn": Published(
        url="https://ndownloader.figshare.com/files/31458811",
        property="formation energy of Materials Project crystals, eV/atom",
    ),
    "jv_supercon_tc_alignn": Published(
        url="https://ndownloader.figshare.com/files/38789199",
        property="Tc of JARVIS-DFT superconductors, K",
        article=17005681,
    ),
    "tc_supercon_radius": Published(
        url="https://ndownloader.figshare.com/files/67163615",
        property="Tc of JARVIS-DFT superconductors, K",
        article=33135209,
        options=RADIUS_GRAPH,
    ),
    "alex_supercon_Tc": Published(
        url="https://ndownloader.figshare.com/files/67163582",
        property="Tc of Alexandria superconductors, K",
        article=33135179,
        options=RADIUS_GRAPH,
    ),
}


def fetch(name: str, folder: Path) -> Path:
    """The published zip, downloaded on first use; its digests are kept beside it and checked every time.

    Raises:
        UserError: offline, another answer than the file, or a file that differs from its digest.
    """
    model, path = PUBLISHED[name], folder / f"{name}.zip"
    record = path.with_suffix(".json")
    if not path.exists():
        md5 = stated_md5(model)
        log.info(f"downloading {name} from {model.url}")
        download(model.url, path, md5)
        write_json(record, {"url": model.url, "md5_stated": md5, "sha256": sha256(path)})
    recorded = json.loads(record.read_text(encoding="utf-8"))["sha256"] if record.exists() else None
    if recorded != sha256(path):
        raise UserError(f"{path} is not the file that was downloaded; delete it and {record.name} to fetch it again")
    return path


def stated_md5(model: Published) -> str | None:
    """MD5 that figshare states for the model's file, or None where its article is not known."""
    if model.article is None:
        return None
    number, listing = int(model.url.rsplit("/", 1)[1]), f"{FIGSHARE_API}/{model.article}/files"
    try:
        stated = {entry["id"]: str(entry["computed_md5"]) for entry in json.loads(_get(listing))}
        return stated[number]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{listing} does not list file {number}; give a file with --init PATH") from error


def download(url: str, path: Path, md5: str | None) -> None:
    """Store what lies at `url`, whole or not at all.

    Raises:
        UserError: no connection, no answer 200, too large, cut short, or another MD5.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        digest = _copy(url, stream)
        if md5 is not None and digest != md5:
            raise UserError(f"{url} came with MD5 {digest}, {md5} was expected; try again later")


def _copy(url: str, stream: IO[bytes]) -> str:
    """Copy an answer into `stream`; returns its MD5."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        with _open(url) as answer:
            while block := answer.read(1 << 20):
                size += len(block)
                if size > LARGEST_DOWNLOAD_BYTES:
                    raise UserError(f"{url} is larger than {LARGEST_DOWNLOAD_BYTES} bytes; not fetched")
                digest.update(block)
                stream.write(block)
            stated = answer.headers.get("Content-Length")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _unreachable(url, error) from error
    if not size or (stated is not None and int(stated) != size):
        raise UserError(f"{url} sent {size} of {stated or 'an unknown number of'} bytes; try again later")
    return digest.hexdigest()


def _get(url: str) -> bytes:
    """A short answer."""
    try:
        with _open(url) as answer:
            return bytes(answer.read(1 << 20))
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _unreachable(url, error) from error


def _open(url: str):  # type: ignore[no-untyped-def]  # urllib does not name its answer's type
    # figshare answers clients without a browser's name with an empty page (alignn issue 194)
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (SuperVision)"})
    answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    if answer.status != 200:
        raise UserError(
            f"{url} answered {answer.status} instead of the file; fetch it with a browser, use --init PATH"
        )
    return answer


def _unreachable(url: str, error: Exception) -> UserError:
    reason = getattr(error, "reason", error)
    return UserError(
        f"cannot download {url} ({reason}); fetch it elsewhere and give --init PATH, or use the weights that are"
        " shipped (--init pretrained) or none (--init random)"
    )
