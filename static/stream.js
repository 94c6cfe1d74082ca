// The page's line to the service: one event stream down, commands up.
import { countdown } from './model.js';

const HIDDEN_MS_MAX = 60_000;
const RETRY_S_MAX = 30;
const ANSWER_MS_MAX = 20_000;
// The first bytes come at once; a stream that waits longer is stuck.
const PATIENCE_MS = 4_000;
// A line can die in silence, and looks open for ever. So many missed heartbeats say that it is dead.
const MISSED_MAX = 2.5;

/**
 * Keeps one stream open while the page is looked at. `on.event(name, json)` for each event; `on.stream(word, why)` with
 * `opening`, `live`, `lost` or `signed-out`; `on.tenant()` answers whose status is shown; nothing after `stop()`.
 */
export class Stream {
  #base;
  #on;
  #source;
  #channel;
  // For the first bytes of a stream, or for the next one.
  #timer;
  // Until the line counts as dead: set by each heartbeat.
  #left;
  #hiding;
  #failures = 0;
  #life = new AbortController();

  constructor(base, on) {
    // Whole, since tabs know each other by it, and `/` and the full address are one service.
    this.#base = new URL(`${base.replace(/\/+$/, '')}/api/whatsapp/`, document.baseURI).href;
    this.#on = on;
    const { signal } = this.#life;
    // An open stream keeps a page out of the back/forward cache, and one that came back from it is dead.
    addEventListener('pagehide', () => this.#close(), { signal });
    addEventListener('pageshow', ({ persisted }) => persisted && !this.#source && this.open(), { signal });
    document.addEventListener('visibilitychange', () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#close(), HIDDEN_MS_MAX);
      // Anew also where one is open: in another tab somebody else may have signed in, or in again.
      else this.open();
    }, { signal });
  }

  /** Looks whether the line is dead; asked all the time. */
  check() {
    if (this.#left?.() < 0) this.open();
  }

  stop() {
    clearTimeout(this.#hiding);
    this.#close();
    this.#life.abort();
  }

  /** Opens a new stream in place of the old one; it begins with the present. */
  open() {
    this.#close();
    this.#tell('opening');
    const opened = Date.now();
    const source = new EventSource(`${this.#base}events`, { withCredentials: true });
    this.#source = source;
    this.#channel = new BroadcastChannel(this.#base);
    // Six streams block a browser's whole origin over HTTP/1.1: the tabs that nobody looks at give way at once. One that
    // is looked at beside this one asks again whose it is, where this one is somebody else's.
    this.#channel.onmessage = ({ data }) => {
      if (document.hidden) this.#close();
      else if (data && data !== this.#on.tenant()) this.open();
    };
    this.#channel.postMessage('');
    // A try that hangs is given up: browsers keep connections in store that are as dead as the last one.
    this.#timer = setTimeout(() => this.#lost(), PATIENCE_MS);
    source.onopen = () => {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#tell('live');
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.#diagnose(source);
      // The browser comes back by itself, after the pause that the server named, unless that hangs.
      else this.#lost('', RETRY_S_MAX);
    };
    source.addEventListener('heartbeat', ({ data }) => {
      this.#left = countdown(JSON.parse(data).every * MISSED_MAX);
    });
    for (const name of ['connection-status', 'qr-code', 'pair-code', 'pair-code-refused', 'passkey-required']) {
      source.addEventListener(name, ({ data }) => {
        this.#on.event(name, data);
        this.#channel?.postMessage(this.#on.tenant());
      });
    }
    // The browser may have a newer sign-in by now. Only a 401 proves that it has none. A stream that ends at once is left to
    // the browser, which comes back after the server's pause: two clocks that disagree must not make a page ask in a loop.
    source.addEventListener('token-expired', () => Date.now() - opened > PATIENCE_MS && this.open());
  }

  /** `connect`, `disconnect` or `passkey`; answers the refusal, if it is one: `{ code, status, wait }`. */
  async command(name, body) {
    const tenant = this.#on.tenant();
    const headers = { 'content-type': 'application/json', ...(tenant && { 'if-tenant': tenant }) };
    const refused = await this.#ask(name, { method: 'POST', headers, body: JSON.stringify(body) });
    if (refused?.status === 401) this.#signOut();
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

  // EventSource hides the answer that it gave up on, so ask again in a way that shows it.
  async #diagnose(source) {
    const { code, status, wait } = (await this.#ask('events')) ?? {};
    if (this.#source !== source) return;
    if (status === 401) this.#signOut();
    else this.#lost(status && code, status === 429 ? wait : undefined);
  }

  #lost(why, seconds = Math.min(RETRY_S_MAX, 2 ** this.#failures++)) {
    this.#tell('lost', why);
    clearTimeout(this.#timer);
    // Pages that were cut off together must not come back together.
    this.#timer = setTimeout(() => this.open(), seconds * (1000 + 500 * Math.random()));
  }

  #signOut() {
    this.#close();
    this.#tell('signed-out');
  }

  #close() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#source?.close();
    this.#source = this.#channel = this.#left = undefined;
  }

  #tell(word, why) {
    if (!this.#life.signal.aborted) this.#on.stream(word, why);
  }
}
