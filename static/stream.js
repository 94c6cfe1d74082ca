// The connection to the service: one event stream, and commands by fetch.
import { countdown } from './model.js';

const HIDDEN_MS_MAX = 60_000;
const RETRY_S_MAX = 30;
const ANSWER_MS_MAX = 20_000;
// The server sends the first bytes at once. A stream without them for so long is stuck.
const FIRST_BYTES_MS_MAX = 4_000;
// A broken TCP connection can look open. After this many missed heartbeats a new stream is opened.
const MISSED_MAX = 2.5;

/**
 * Keeps one stream open while the page is visible. It calls `on.event(name, json)` for each event, and
 * `on.stream(word, why)` with `opening`, `live`, `lost` or `signed-out`. `on.tenant()` has to answer the `tenantRef` whose
 * status is shown, and `on.hide()` to show it no more. Nothing is called after `stop()`.
 */
export class Stream {
  #base;
  #on;
  #source;
  #channel;
  // Gives up a stream without first bytes, or opens the next one.
  #timer;
  // The time left until the stream counts as broken. Each heartbeat starts it again.
  #heartbeatLeft;
  #hiddenTimer;
  #failures = 0;
  #stopped = new AbortController();

  constructor(base, on) {
    // The whole URL: it is also the name of the channel between tabs, and `/` and the full address are one service.
    this.#base = new URL(`${base.replace(/\/+$/, '')}/api/whatsapp/`, document.baseURI).href;
    this.#on = on;
    const { signal } = this.#stopped;
    // An open stream keeps a page out of the back/forward cache, and a stream of a page that comes back from it is broken.
    addEventListener('pagehide', () => this.#close(), { signal });
    addEventListener('pageshow', ({ persisted }) => persisted && !this.#source && this.open(), { signal });
    document.addEventListener('visibilitychange', () => {
      clearTimeout(this.#hiddenTimer);
      if (document.hidden) this.#hiddenTimer = setTimeout(() => this.#close(), HIDDEN_MS_MAX);
      // Reopens also an open stream: another user may have signed in meanwhile, in another tab.
      else this.open();
    }, { signal });
  }

  /** Opens a new stream if heartbeats are missing. The element calls it with each tick. */
  check() {
    if (this.#heartbeatLeft?.() < 0) this.open();
  }

  stop() {
    clearTimeout(this.#hiddenTimer);
    this.#close();
    this.#stopped.abort();
  }

  /** Opens a new stream in place of the old one. It begins with the current status. */
  open() {
    this.#close();
    this.#report('opening');
    const opened = Date.now();
    const source = new EventSource(`${this.#base}events`, { withCredentials: true });
    this.#source = source;
    this.#channel = new BroadcastChannel(this.#base);
    // Six streams block a browser's whole origin over HTTP/1.1, so hidden tabs close their stream as soon as a visible one
    // opens. A visible tab that shows another tenant reopens its stream.
    this.#channel.onmessage = ({ data }) => {
      if (document.hidden) this.#close();
      else if (data && data !== this.#on.tenant()) {
        // The next stream may be refused for minutes.
        this.#on.hide();
        this.open();
      }
    };
    this.#channel.postMessage('');
    // Gives up an attempt without an answer: the browser may have reused a broken pooled connection.
    this.#timer = setTimeout(() => this.#lost(), FIRST_BYTES_MS_MAX);
    source.onopen = () => {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#report('live');
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.#diagnose(source);
      // The browser reconnects after the pause that the server named. This timer opens a new stream if that hangs.
      else this.#lost('', RETRY_S_MAX);
    };
    source.addEventListener('heartbeat', ({ data }) => {
      this.#heartbeatLeft = countdown(JSON.parse(data).every * MISSED_MAX);
    });
    for (const name of ['connection-status', 'qr-code', 'pair-code', 'pair-code-refused', 'passkey-required']) {
      source.addEventListener(name, ({ data }) => {
        this.#on.event(name, data);
        this.#channel?.postMessage(this.#on.tenant());
      });
    }
    // The browser may have a newer token by now; only a 401 proves that it has none. A stream that ends at once is not
    // reopened here: if two clocks disagree, the page would reconnect in a loop. The browser waits for the server's pause.
    source.addEventListener('token-expired', () => Date.now() - opened > FIRST_BYTES_MS_MAX && this.open());
  }

  /** Sends `connect`, `disconnect` or `passkey`. Answers nothing, or the refusal: `{ code, status, wait }`. */
  async command(name, body) {
    const tenant = this.#on.tenant();
    const headers = { 'content-type': 'application/json', ...(tenant && { 'if-tenant': tenant }) };
    const refused = await this.#ask(name, { method: 'POST', headers, body: JSON.stringify(body) });
    if (refused?.status === 401) this.#signOut(refused.code);
    return refused;
  }

  async #ask(path, init) {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    try {
      const answer = await fetch(this.#base + path, { credentials: 'include', signal, ...init });
      if (answer.ok) return answer.body?.cancel();
      const { code } = await answer.json().catch(() => ({}));
      return { code, status: answer.status, wait: +answer.headers.get('retry-after') || 30 };
    } catch {
      return { code: 'network' };
    }
  }

  // EventSource does not show why a request failed, so ask again with fetch.
  async #diagnose(source) {
    const { code, status, wait } = (await this.#ask('events')) ?? {};
    if (this.#source !== source) return;
    if (status === 401) this.#signOut(code);
    else this.#lost(status && code, status === 429 ? wait : undefined);
  }

  #lost(why, seconds = Math.min(RETRY_S_MAX, 2 ** this.#failures++)) {
    this.#report('lost', why);
    clearTimeout(this.#timer);
    // A random part: pages that lost their streams together must not reconnect together.
    this.#timer = setTimeout(() => this.open(), seconds * (1000 + 500 * Math.random()));
  }

  #signOut(why) {
    this.#close();
    this.#report('signed-out', why);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#source?.close();
    this.#source = this.#channel = this.#heartbeatLeft = undefined;
  }

  #report(word, why) {
    if (!this.#stopped.signal.aborted) this.#on.stream(word, why);
  }
}
