"""The page before a predictor without networks: as an application, and as a server that a browser can open."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.web.made import FACTS, StandIn

pytest.importorskip("fastapi", reason="the page's packages are not installed (pip install -r requirements-web.txt)")
pytest.importorskip("multipart", reason="the page's packages are not installed (pip install -r requirements-web.txt)")

import uvicorn
from starlette.testclient import TestClient

from web.app import create_app


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    """The application; an error of the server's fails the test."""
    with TestClient(create_app(StandIn(), FACTS), base_url="http://localhost") as found:
        yield found


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """URL of a running server."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(StandIn(), FACTS), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
