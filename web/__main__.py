"""Serve the page: drop a CIF, see the crystal, its Tc, and why.

    python -m web
    python -m web --host 0.0.0.0 --port 8080 --allow-host tc.example.org

Everything is computed here and served from here; nothing is stored, and nothing leaves this machine but the answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tc_common.cli import parse, run
from tc_common.errors import UserError
from tc_common.files import printable


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Where to listen, and which models to serve."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface of this machine."""
    port: int = 8000
    """Port (0 to 65535; 0 for any free one)."""
    allow_host: tuple[str, ...] = ()
    """Names under which browsers may ask for the page, besides localhost and --host (behind a proxy: the site's)."""
    models_dir: Path = Path(__file__).resolve().parent.parent / "models/3dsc"
    """Folder of the shipped models."""
    model: Literal["ensemble", "alignn", "dinov3"] = "ensemble"
    """The model that answers."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("--port: from 0 to 65535")


def main() -> None:
    """Load the models, then serve until stopped."""
    config = parse(WebConfig, prog="python -m web", description=__doc__ or "")
    try:
        import uvicorn

        from web.app import create_app
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is missing; install what the page needs with: pip install fastapi uvicorn"
        ) from error
    from prediction import load_predictor

    predictor = load_predictor(config.models_dir, config.model, device=config.device)
    app = create_app(predictor, config.models_dir, (config.host, *config.allow_host))
    print(f"SuperVision at http://{printable(config.host)}:{config.port} (Ctrl-C ends it)", flush=True)
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=200,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=5,
        ws="none",
    )


if __name__ == "__main__":
    run(main)
