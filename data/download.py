"""The 3DSC release: where it is published, and how its archive is recognised."""

from pathlib import Path

from data.archives import cifs_sha256
from tc_common.download import Remote, download, figshare_articles, figshare_files
from tc_common.errors import UserError
from tc_common.files import sha256

# The state of github.com/aimat-lab/3DSC "for publication", as its README names it. Git commits are hashes of content.
COMMIT = "2471dd51a298a854cb4f365ebd39e72c7cbf3634"
GITHUB_URL = f"https://codeload.github.com/aimat-lab/3DSC/tar.gz/{COMMIT}"
# The same release by its doi, 10.6084/m9.figshare.c.6914407.v1; figshare publishes each file's size and md5.
FIGSHARE_COLLECTION = 6914407
ARCHIVE = "3DSC_MP.tar.gz"
# sha256 of `LC_ALL=C sha256sum *.cif` in cifs/, 10,904 files of upstream's repository. The content is pinned and not
# the archive, because GitHub packs archives anew and does not keep their bytes.
# The table 3DSC_MP.csv is not pinned: its sha256 is recorded in SOURCE.json and report.json, and `--sha256` pins both.
CIFS_SHA256 = "1261d1aad5685c57594e7c01d6106a9ecd7a39f0ab40b9597150889b0abcd480"


def fetch_3dsc(folder: Path, digest: str | None, url: str | None) -> Path:
    """The 3DSC archive in `folder`, downloaded if it is not there: GitHub first, then figshare.

    It gets its name once its bytes have the sha256 `digest`, or, where that is None, its CIFs have `CIFS_SHA256`.

    Raises:
        UserError: no source answers, or what they give is not the release.
    """
    target, faults = folder / ARCHIVE, []
    if target.is_file():
        _check_archive(target, digest)
        return target
    for name in ("url",) if url else ("github", "figshare"):
        try:
            remote = _figshare() if name == "figshare" else Remote(url=url or GITHUB_URL)
            partial = folder / f".{ARCHIVE}.{name}.part"
            return download(remote, target, partial=partial, check=lambda path: _check_archive(path, digest))
        except UserError as error:
            faults.append(str(error))
    raise UserError(f"3DSC could not be fetched: {'; '.join(faults)}. Fetch it by hand and give --source PATH")


def _check_archive(archive: Path, digest: str | None) -> None:
    if digest is not None:
        if sha256(archive) != digest.lower():
            raise UserError(f"{archive}: its sha256 is {sha256(archive)}, not {digest}; remove it or correct --sha256")
    elif cifs_sha256(archive) != CIFS_SHA256:
        raise UserError(
            f"{archive}: its CIFs are not those of the release; if you trust it, give --sha256 {sha256(archive)}"
        )


def _figshare() -> Remote:
    """The release's archive in figshare's collection.

    Raises:
        UserError: no answer, or no such file.
    """
    for article in figshare_articles(FIGSHARE_COLLECTION):
        for remote in figshare_files(article).values():
            if remote.name == ARCHIVE:
                return remote
    raise UserError(f"figshare's collection {FIGSHARE_COLLECTION} holds no {ARCHIVE}")
