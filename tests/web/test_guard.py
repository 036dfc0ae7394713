"""Whose requests are answered, how much they may send, and who has to wait."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tests.web.made import FACTS, MGB2, StandIn
from web.app import create_app
from web.guard import HEADERS, Guard
from web.turns import BusyError, Turns


def post(client: TestClient, **headers: str) -> Any:
    return client.post("/api/predict", files={"file": ("a.cif", MGB2)}, headers=headers)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:80", "[::1"])
def test_a_page_is_not_served_under_other_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"])
def test_a_page_is_served_under_this_machines_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


def test_another_pages_requests_are_refused_and_no_answer_is_shared_with_it(client: TestClient) -> None:
    assert post(client, origin="https://evil.example").status_code == 403
    assert post(client, origin="null").status_code == 403
    answer = post(client, origin="http://localhost:8000")
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


def test_every_answer_carries_the_headers_that_bind_a_browser(client: TestClient) -> None:
    answers = [client.get("/"), client.get("/nothing"), post(client), post(client, origin="null")]
    assert all(answer.headers[name] == value for answer in answers for name, value in HEADERS.items())
    assert HEADERS["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "set-cookie" not in client.get("/").headers


def test_of_fifty_requests_at_once_each_is_answered_200_or_429_and_none_is_lost() -> None:
    async def fifty() -> list[httpx.Response]:
        app = create_app(StandIn(), FACTS)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                asked = (client.post("/api/predict", files={"file": ("a.cif", MGB2)}) for _ in range(50))
                answers = await asyncio.gather(*asked)
                return [*answers, await client.post("/api/predict", files={"file": ("a.cif", MGB2)})]

    *answers, last = asyncio.run(fifty())
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 9 and statuses.count(429) == 41
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    assert last.status_code == 200


def test_a_place_is_free_again_after_its_request() -> None:
    turns = Turns(most_waiting=0)
    with turns.place(), pytest.raises(BusyError, match="try again in"), turns.place():
        pass
    with turns.place():
        pass
    turns.close()


def test_a_request_that_is_cancelled_before_its_turn_is_never_computed() -> None:
    done: list[str] = []

    async def scene() -> None:
        turns, may_end = Turns(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def first() -> None:
            asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
            done.append("first")

        running = asyncio.create_task(turns.work(first))
        waiting = asyncio.create_task(turns.work(lambda: done.append("second")))
        await asyncio.sleep(0.05)
        waiting.cancel()
        may_end.set()
        await running
        await turns.work(lambda: done.append("third"))
        turns.close()

    asyncio.run(scene())
    assert done == ["first", "third"]


def talk(messages: Iterable[dict[str, Any]], pause_s: float, longest_upload_s: float) -> list[dict[str, Any]]:
    """What a guard sends to a client that sends these messages with a pause before each."""
    sent: list[dict[str, Any]] = []
    stream = iter(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause_s)
        return next(stream, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pytest.fail("the route was asked")

    scope = {"type": "http", "method": "POST", "path": "/api/predict", "headers": [(b"host", b"localhost")]}
    turns = Turns()
    asyncio.run(Guard(app, turns, (), longest_upload_s)(scope, receive, send))
    with turns.place():
        turns.close()
    return sent


def test_a_slow_upload_is_ended() -> None:
    slow = [{"type": "http.request", "body": b"x", "more_body": True}] * 4
    assert talk(slow, pause_s=0.05, longest_upload_s=0.12)[0]["status"] == 408


def test_an_upload_without_end_is_ended_at_the_limit() -> None:
    endless = [{"type": "http.request", "body": b"x" * 100_000, "more_body": True}] * 1_000
    assert talk(endless, pause_s=0, longest_upload_s=9)[0]["status"] == 413


def test_a_client_that_leaves_gets_no_answer_and_its_place_is_free() -> None:
    assert talk([{"type": "http.request", "body": b"x", "more_body": True}], pause_s=0, longest_upload_s=9) == []
