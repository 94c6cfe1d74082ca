// The page's line to the service: one event stream down, commands up.
const HIDDEN_MS_MAX = 60_000;
const ASLEEP_MS = 20_000;
const PULSE_MS = 5_000;
const RETRY_MS_MAX = 30_000;
const ANSWER_MS_MAX = 20_000;
// The first bytes come at once; a stream that waits longer is stuck.
const PATIENCE_MS = 4_000;

/**
 * Keeps one stream open while the page is looked at. `on.event(name, json)` for each event; `on.stream(word, why)` with
 * `opening`, `live`, `lost` or `signed-out`; nothing after `stop()`.
 */
export class Stream {
  #base;
  #on;
  #source;
  #channel;
  // For the first bytes of a stream, or for the next one.
  #timer;
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
      // Also after a sign-out: people sign in in another tab and come back.
      else if (!this.#source) this.open();
    }, { signal });
    let beat = Date.now();
    const pulse = setInterval(() => {
      // A socket that died in the machine's sleep looks open for minutes.
      const gap = Date.now() - beat;
      beat += gap;
      if (gap > ASLEEP_MS && this.#source && !document.hidden) this.open();
    }, PULSE_MS);
    signal.onabort = () => clearInterval(pulse);
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
    this.#channel = new BroadcastChannel('whatsapp-link');
    // Six streams block a browser's whole origin over HTTP/1.1: the tabs that nobody looks at give way at once.
    this.#channel.onmessage = () => document.hidden && this.#close();
    this.#channel.postMessage(0);
    this.#timer = setTimeout(() => this.#tell('lost'), PATIENCE_MS);
    source.onopen = () => {
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#tell('live');
    };
    source.onerror = () => {
      clearTimeout(this.#timer);
      this.#tell('lost');
      // Otherwise the browser comes back by itself, after the pause that the server named.
      if (source.readyState === EventSource.CLOSED) this.#diagnose(source);
    };
    for (const name of ['connection-status', 'qr-code', 'pair-code', 'pair-code-refused', 'passkey-required']) {
      source.addEventListener(name, ({ data }) => this.#on.event(name, data));
    }
    source.addEventListener('token-expired', () => this.#signOut());
  }

  /** `connect`, `disconnect` or `passkey`; throws `{ code, status, wait }`. */
  async command(name, body) {
    const headers = body && { 'content-type': 'application/json' };
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
    this.#tell('lost', refused.code);
    const pause = refused.status === 429 ? refused.wait * 1000 : Math.min(RETRY_MS_MAX, 1000 * 2 ** this.#failures++);
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
    this.#source = this.#channel = null;
  }

  #tell(word, why) {
    if (!this.#life.signal.aborted) this.#on.stream(word, why);
  }
}

async function refusal(answer) {
  const { code } = await answer.json().catch(() => ({}));
  return { code, status: answer.status, wait: +answer.headers.get('retry-after') || 30 };
}
