"""PyPI httpx-sse in the loop of its documentation ("Handling reconnections"): `python httpx-sse.py URL TOKEN` prints each
event as JSON, one a line.

The loop differs in what it retries on: its `httpx.ReadError` is a connection that was reset, while one that was closed in
the middle of a stream, or while nobody answers, is another `httpx.TransportError`.
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse
from stamina import retry


def iter_sse_retrying(client, method, url):
    last_event_id = ""
    reconnection_delay = 0.0

    # `stamina` will apply jitter and exponential backoff on top of
    # the `retry` reconnection delay sent by the server.
    @retry(on=httpx.TransportError)
    def _iter_sse():
        nonlocal last_event_id, reconnection_delay

        time.sleep(reconnection_delay)

        headers = {"Accept": "text/event-stream"}

        if last_event_id:
            headers["Last-Event-ID"] = last_event_id

        with connect_sse(client, method, url, headers=headers) as event_source:
            for sse in event_source.iter_sse():
                last_event_id = sse.id

                if sse.retry is not None:
                    reconnection_delay = sse.retry / 1000

                yield sse

    return _iter_sse()


url, token = sys.argv[1:]
# Longer than a heartbeat, since httpx ends what is silent for five seconds.
with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=40) as client:
    for sse in iter_sse_retrying(client, "GET", url):
        print(json.dumps({"event": sse.event, "id": sse.id, "data": sse.data}), flush=True)
