// The page's line to the service: one event stream down, two commands up.

const EVENTS = ['connection-status', 'qr-code', 'pair-code', 'passkey-required'];
const HIDDEN_MS_MAX = 60_000;
const ASLEEP_MS = 20_000;
const PULSE_MS = 5_000;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
// For a refusal that does not say when, and for a foreign origin that may not read when.
const RETRY_AFTER_S = 30;
const ANSWER_MS_MAX = 20_000;
// The service sends its first bytes at once; a stream that waits longer is stuck, often behind six others.
const PATIENCE_MS = 6_000;
const PATH = '/api/whatsapp';

/** A command the service refused, or that never reached it. `code` is the problem's stable word. */
export class Refusal extends Error {
  constructor(code, status = 0, retryAfter = RETRY_AFTER_S) {
    super(code);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Keeps one stream open while the page is looked at, and tells what comes.
 *
 * `on.event(name, data)` for each event of the contract; `on.stream(word, why)` with `opening`, `live`, `lost` or
 * `signed-out`; `on.fault(error)` for an event that is not JSON. Nothing is ever reported after `stop()`.
 */
export class Connection {
  #base;
  #on;
  #source = null;
  #word = 'opening';
  #failures = 0;
  #retry = 0;
  #hiding = 0;
  #patience = 0;
  #pulse = 0;
  #lastPulse = 0;
  #listening = null;
  #probing = null;

  constructor(base, on) {
    this.#base = base.replace(/\/+$/, '') + PATH;
    this.#on = on;
  }

  start() {
    this.stop();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    // An open stream keeps a page out of the back/forward cache, and one that came back from it is dead.
    addEventListener('pagehide', () => this.#close(), { signal });
    addEventListener('pageshow', (event) => event.persisted && this.open(), { signal });
    addEventListener('online', () => this.#word !== 'live' && this.open(), { signal });
    document.addEventListener('visibilitychange', () => this.#visibility(), { signal });
    this.#lastPulse = Date.now();
    this.#pulse = setInterval(() => this.#feelPulse(), PULSE_MS);
    this.open();
  }

  stop() {
    this.#listening?.abort();
    this.#listening = null;
    clearInterval(this.#pulse);
    clearTimeout(this.#hiding);
    this.#close();
  }

  /** Opens a new stream in place of the old one; its first event says the present. */
  open() {
    if (!this.#listening) return;
    this.#close();
    this.#tell('opening');
    // Credentials are named for both cases: a same-origin stream sends its cookie anyway.
    const source = new EventSource(`${this.#base}/events`, { withCredentials: true });
    this.#source = source;
    this.#patience = setTimeout(() => this.#tell('lost'), PATIENCE_MS);
    source.onopen = () => {
      clearTimeout(this.#patience);
      this.#failures = 0;
      this.#tell('live');
    };
    source.onerror = () => {
      clearTimeout(this.#patience);
      // Still CONNECTING: the browser comes back by itself, with the pause that the server gave it.
      if (source.readyState !== EventSource.CLOSED) return this.#tell('lost');
      this.#close();
      this.#diagnose();
    };
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#receive(name, event.data));
    source.addEventListener('token-expired', () => this.#signOut());
  }

  connect(phoneNumber) {
    return this.#command('connect', phoneNumber ? { phoneNumber } : undefined);
  }

  disconnect() {
    return this.#command('disconnect');
  }

  async #command(name, body) {
    const answer = await this.#fetch(name, {
      method: 'POST',
      headers: body && { 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (answer.ok) return answer.json().catch(() => null);
    const refusal = await refusalOf(answer);
    if (refusal.status === 401) this.#signOut();
    throw refusal;
  }

  async #fetch(path, init) {
    try {
      return await fetch(`${this.#base}/${path}`, { credentials: 'include', cache: 'no-store', ...init });
    } catch {
      throw new Refusal('network');
    }
  }

  #receive(name, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch (error) {
      this.#on.fault(error);
      return;
    }
    this.#on.event(name, data);
  }

  // EventSource hides the status of an answer that it gave up on. Ask the service how it is, then the stream itself.
  async #diagnose() {
    this.#tell('lost');
    this.#probing = new AbortController();
    const { signal } = this.#probing;
    let pause = this.#backoff();
    let why = null;
    try {
      const status = await this.#fetch('status', { signal });
      if (status.status === 401) return signal.aborted || this.#signOut();
      if (status.ok) {
        // A page that gets no stream still shows what is true, as often as it tries.
        const body = await status.json();
        if (signal.aborted) return;
        this.#on.event('connection-status', body);
        const refusal = await this.#askStream(signal);
        if (refusal?.status === 401) return signal.aborted || this.#signOut();
        if (refusal?.status === 429) {
          why = refusal.code;
          pause = jitter(refusal.retryAfter * 1000);
        }
      }
    } catch {
      // Not reachable at all: the pause below is the answer.
    }
    if (signal.aborted) return;
    this.#tell('lost', why);
    this.#retry = setTimeout(() => this.open(), pause);
  }

  async #askStream(signal) {
    const answer = await this.#fetch('events', { headers: { accept: 'text/event-stream' }, signal });
    if (!answer.ok) return refusalOf(answer);
    // It would work now. This one was only a question: give its place back.
    answer.body?.cancel();
    return null;
  }

  #signOut() {
    this.#close();
    this.#tell('signed-out');
  }

  #visibility() {
    clearTimeout(this.#hiding);
    if (document.hidden) {
      this.#hiding = setTimeout(() => this.#close(), HIDDEN_MS_MAX);
    } else if (!this.#source) {
      // Also after a sign-out: people sign in in another tab and come back.
      this.open();
    }
  }

  // A socket that died in the machine's sleep looks open for minutes, and heartbeats are not visible to us.
  #feelPulse() {
    const gap = Date.now() - this.#lastPulse;
    this.#lastPulse = Date.now();
    if (gap > ASLEEP_MS && !document.hidden && this.#word !== 'signed-out') this.open();
  }

  #backoff() {
    const pause = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures);
    this.#failures += 1;
    return jitter(pause);
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#patience);
    this.#probing?.abort();
    this.#probing = null;
    this.#source?.close();
    this.#source = null;
  }

  #tell(word, why = null) {
    if (!this.#listening) return;
    this.#word = word;
    this.#on.stream(word, why);
  }
}

// Between one and one and a half times the pause: pages that were cut off together do not come back together.
function jitter(pause) {
  return pause * (1 + Math.random() / 2);
}

async function refusalOf(answer) {
  const problem = await answer.json().catch(() => null);
  const code = typeof problem?.code === 'string' ? problem.code : 'other';
  return new Refusal(code, answer.status, retryAfterOf(answer));
}

/** Seconds, undefined if not said; the header is a number or a date. */
function retryAfterOf(answer) {
  const text = answer.headers.get('retry-after');
  if (!text) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}
