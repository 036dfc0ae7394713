"""Serve the page: drop a CIF, see the crystal, its Tc, and why.

    python -m web
    python -m web --host 0.0.0.0 --port 8080 --allow-host tc.example.org

Everything is computed here and served from here; nothing is stored, and nothing leaves this machine but the answers.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tc_common.cli import parse, run
from tc_common.errors import UserError, one_line
from tc_common.files import printable

SETTINGS: dict[str, Any] = {
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "limit_concurrency": 200,
    "timeout_keep_alive": 20,
    "timeout_graceful_shutdown": 5,
    "ws": "none",
}


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
    import uvicorn

    from prediction import load_predictor
    from web.app import create_app

    predictor = load_predictor(config.models_dir, config.model, device=config.device)
    app = create_app(predictor, config.models_dir, (config.host, *config.allow_host))
    with _listening(config.host, config.port) as listener:
        print(
            f"SuperVision at http://{printable(config.host)}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True
        )
        uvicorn.Server(uvicorn.Config(app, **SETTINGS)).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: the port is taken, or there is no such address.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host {printable(host)} --port {port}: cannot listen there ({one_line(error)}); name another port"
        ) from error


if __name__ == "__main__":
    run(main)
