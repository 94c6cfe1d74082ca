// The page's line to the service: one event stream down, commands up.
const HIDDEN_MS_MAX = 60_000;
const RETRY_MS_MAX = 30_000;
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
  // By the wall clock, which goes on while the machine sleeps.
  #due;
  #hiding;
  #failures = 0;
  #life = new AbortController();

  constructor(base, on) {
    this.#base = `${base.replace(/\/+$/, '')}/api/whatsapp/`;
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
    if (Date.now() > this.#due) this.open();
  }

  stop() {
    clearTimeout(this.#hiding);
    this.#close();
    this.#life.abort();
  }

  /** Opens a new stream in place of the old one; it begins with the present. */
  open() {
    this.#close();
    if (this.#life.signal.aborted) return;
    this.#tell('opening');
    const source = new EventSource(`${this.#base}events`, { withCredentials: true });
    this.#source = source;
    this.#channel = new BroadcastChannel(this.#base);
    // Six streams block a browser's whole origin over HTTP/1.1: the tabs that nobody looks at give way at once. One that
    // is looked at beside this one asks again whose it is, where this one is somebody else's.
    this.#channel.onmessage = ({ data }) => {
      if (document.hidden) this.#close();
      else if (data && data !== this.#on.tenant()) this.open();
    };
    this.#channel.postMessage(0);
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
      else this.#lost('', RETRY_MS_MAX);
    };
    source.addEventListener('heartbeat', ({ data }) => {
      this.#due = Date.now() + JSON.parse(data).every * 1000 * MISSED_MAX;
    });
    for (const name of ['connection-status', 'qr-code', 'pair-code', 'pair-code-refused', 'passkey-required']) {
      source.addEventListener(name, ({ data }) => this.#on.event(name, data));
    }
    // The browser may have a newer sign-in by now. Only a 401 proves that it has none.
    source.addEventListener('token-expired', () => this.open());
  }

  /** Tells the other tabs whose status this one shows. */
  tellTabs(tenant) {
    this.#channel?.postMessage(tenant);
  }

  /** `connect`, `disconnect` or `passkey`; throws `{ code, status, wait }`. */
  async command(name, body) {
    const tenant = this.#on.tenant();
    const headers = { 'content-type': 'application/json', ...(tenant && { 'if-tenant': tenant }) };
    const answer = await this.#ask(name, { method: 'POST', headers, body: JSON.stringify(body) });
    if (answer.status === 401) this.#signOut();
    if (!answer.ok) throw await refusal(answer);
  }

  #ask(path, init) {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    return fetch(this.#base + path, { credentials: 'include', cache: 'no-store', signal, ...init }).catch(() => {
      throw { code: 'network' };
    });
  }

  // EventSource hides the answer that it gave up on, so ask again in a way that shows it.
  async #diagnose(source) {
    let refused = {};
    try {
      const answer = await this.#ask('events');
      if (answer.ok) answer.body.cancel();
      else refused = await refusal(answer);
    } catch {
      // Not reachable at all: the pause is the answer.
    }
    if (this.#source !== source) return;
    if (refused.status === 401) return this.#signOut();
    this.#lost(refused.code, refused.status === 429 ? refused.wait * 1000 : undefined);
  }

  #lost(why, pause = Math.min(RETRY_MS_MAX, 1000 * 2 ** this.#failures++)) {
    this.#tell('lost', why);
    clearTimeout(this.#timer);
    // Pages that were cut off together must not come back together.
    this.#timer = setTimeout(() => this.open(), pause * (1 + Math.random() / 2));
  }

  #signOut() {
    this.#close();
    this.#tell('signed-out');
  }

  #close() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#source?.close();
    this.#source = this.#channel = this.#due = undefined;
  }

  #tell(word, why) {
    if (!this.#life.signal.aborted) this.#on.stream(word, why);
  }
}

async function refusal(answer) {
  const { code } = await answer.json().catch(() => ({}));
  return { code, status: answer.status, wait: +answer.headers.get('retry-after') || 30 };
}
