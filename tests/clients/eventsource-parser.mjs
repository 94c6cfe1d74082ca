// npm eventsource-parser, which parses and leaves the connection to its caller: `node eventsource-parser.mjs URL TOKEN`
// prints each event as JSON, one a line. The loop around it is what the standard asks of a client that reconnects.
import { setTimeout as pause } from 'node:timers/promises';
import { EventSourceParserStream } from 'eventsource-parser/stream';

const [url, token] = process.argv.slice(2);
let lastId;
let retry = 3000;

for (;;) {
  try {
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${token}` };
    if (lastId) headers['last-event-id'] = lastId;
    const response = await fetch(url, { headers });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const events = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream({ onError: 'terminate', onRetry: (interval) => { retry = interval; } }));
    for await (const { event, id, data } of events) {
      lastId = id ?? lastId;
      console.log(JSON.stringify({ event, id, data }));
    }
  } catch (error) {
    console.error(String(error));
  }
  await pause(retry);
}
