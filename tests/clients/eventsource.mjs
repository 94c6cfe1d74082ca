// npm eventsource, which reconnects by itself: `node eventsource.mjs URL TOKEN` prints each event as JSON, one a line.
import { EventSource } from 'eventsource';

const [url, token] = process.argv.slice(2);
const names = ['connection-status', 'qr-code', 'pair-code', 'pair-code-refused', 'passkey-required', 'heartbeat', 'token-expired'];

const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
for (const name of ['message', ...names]) {
  source.addEventListener(name, ({ type, lastEventId, data }) => {
    console.log(JSON.stringify({ event: type, id: lastEventId, data }));
  });
}
source.addEventListener('error', ({ code, message }) => console.error('error', code, message));
