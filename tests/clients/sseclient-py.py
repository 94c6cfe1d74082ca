"""PyPI sseclient-py over urllib3, as its documentation has it: `python sseclient-py.py URL TOKEN` prints each event as
JSON, one a line. It leaves the connection to its caller, whose loop comes back with the last id that it saw.
"""

import json
import sys
import time

import sseclient
import urllib3

url, token = sys.argv[1:]
http = urllib3.PoolManager(retries=False)
last_id, retry = None, 3.0
while True:
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        res = http.request("GET", url, preload_content=False, headers=headers)
        for event in sseclient.SSEClient(res).events():
            last_id = event.id or last_id
            retry = int(event.retry) / 1000 if event.retry else retry
            print(json.dumps({"event": event.event, "id": event.id, "data": event.data}), flush=True)
    except urllib3.exceptions.HTTPError as error:
        print(error, file=sys.stderr)
    time.sleep(retry)
