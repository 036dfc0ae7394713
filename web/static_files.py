"""The page's own files, compressed once and kept in memory."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).resolve().parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".md": "text/plain; charset=utf-8",
    ".LICENSE": "text/plain; charset=utf-8",
}
CACHE = "no-cache"  # browsers keep it, and ask whether it is still the same


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent."""

    content: bytes
    packed: bytes
    etag: str
    media_type: str


def names() -> frozenset[str]:
    """Every file below `static/`, as a path from there."""
    files = (path for path in STATIC.rglob("*") if path.is_file() and path.suffix in TYPES)
    return frozenset(path.relative_to(STATIC).as_posix() for path in files)


@lru_cache(maxsize=64)
def load(name: str) -> StaticFile:
    """A file by one of `names`."""
    content = (STATIC / name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return StaticFile(content, gzip.compress(content, 9, mtime=0), etag, TYPES[Path(name).suffix])


def respond(request: Request, name: str) -> Response:
    """A file as the browser wants it: packed, plain, or not again."""
    file = load(name)
    headers = {"etag": file.etag, "cache-control": CACHE, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)
