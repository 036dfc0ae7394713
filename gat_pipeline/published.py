"""Weights that the authors of ALIGNN publish: their addresses, and the graphs they were trained on."""

from dataclasses import dataclass, field
from pathlib import Path

from gat_pipeline.graphs import GraphOptions
from tc_common.cli import log
from tc_common.download import Remote, download, figshare_files
from tc_common.errors import UserError
from tc_common.files import read_json, sha256, write_json

LARGEST_BYTES = 500_000_000
REMEDY = (
    "download it elsewhere and give --init PATH, or use the weights that are shipped (--init pretrained) or none "
    "(--init random)"
)
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
    """The published zip, downloaded on first use; its digests are stored in a JSON of the same name and checked.

    Raises:
        UserError: offline, another answer than the file, or a file that differs from its digest.
    """
    model, path = PUBLISHED[name], folder / f"{name}.zip"
    record = path.with_suffix(".json")
    if not path.exists():
        log.info(f"downloading {name} from {model.url}")
        try:
            md5 = stated_md5(model)
            download(Remote(url=model.url, md5=md5), path, largest_bytes=LARGEST_BYTES)
        except UserError as error:
            raise UserError(f"cannot download {name}: {error}; {REMEDY}") from error
        write_json(record, {"url": model.url, "md5_stated": md5, "sha256": sha256(path)})
    recorded = read_json(record).get("sha256") if record.exists() else None
    if recorded != sha256(path):
        raise UserError(f"{path} is not the file that was downloaded; delete it and {record.name} to fetch it again")
    return path


def stated_md5(model: Published) -> str | None:
    """MD5 that figshare states for the model's file, or None where its article is not known.

    Raises:
        UserError: figshare does not answer, or does not list the file.
    """
    if model.article is None:
        return None
    number = int(model.url.rsplit("/", 1)[1])
    files = figshare_files(model.article)
    if number not in files:
        raise UserError(f"figshare's article {model.article} does not list file {number}")
    return files[number].md5
