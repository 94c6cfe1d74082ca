import { Connection, Refusal } from './connection.js';
import { Deadline } from './deadline.js';
import { h } from './dom.js';
import { icon } from './icons.js';
import { emptyModel, take } from './model.js';
import { language, say, texts } from './texts.js';
import { choose } from './views.js';
import { noticeWords, problemWords, spokenWords, statusWord } from './words.js';

const STYLE = new URL('whatsapp-link.css', import.meta.url).href;
const TICK_MS = 250;
const OVERDUE_MS = 10_000;
const SPEAK_MS = 700;

/**
 * `<whatsapp-link base lang login-url tenant-name>`: the card that links one WhatsApp account.
 *
 * Events: `connected`, `disconnected`, `error` (detail says what), and the cancelable `token-expired`; who cancels
 * it renews the sign-in and calls `reconnect()`.
 */
export class WhatsappLink extends HTMLElement {
  static observedAttributes = ['base', 'lang', 'login-url', 'tenant-name'];

  #model = emptyModel();
  #connection = null;
  #view = null;
  #key = '';
  #ticker = 0;
  #speaking = 0;
  #heard = 0;
  #told = '';
  #asked = false;
  #overdue = null;
  #parts = null;

  connectedCallback() {
    if (!this.#parts) this.#build();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    document.addEventListener('visibilitychange', this.#tick);
    this.reconnect();
  }

  disconnectedCallback() {
    clearInterval(this.#ticker);
    clearTimeout(this.#speaking);
    document.removeEventListener('visibilitychange', this.#tick);
    this.#connection?.stop();
  }

  attributeChangedCallback(name, before, after) {
    if (!this.#parts || before === after) return;
    if (name === 'base' && this.isConnected) this.reconnect();
    this.#render();
  }

  /** Opens a new stream now: after a renewed sign-in, or whenever the page wants to be sure. */
  reconnect() {
    this.#connection?.stop();
    this.#connection = new Connection(this.getAttribute('base') ?? '', {
      event: (name, data) => this.#receive(name, data),
      stream: (word, why) => this.#streamIs(word, why),
      fault: (error) => this.#fail(error),
    });
    this.#connection.start();
  }

  #build() {
    const root = this.attachShadow({ mode: 'open' });
    const card = h('section', { class: 'card', part: 'card', 'aria-labelledby': 'title', hidden: true });
    const parts = {
      card,
      title: h('h2', { id: 'title', part: 'title' }),
      subtitle: h('p', { class: 'text' }),
      label: h('span', { class: 'status-label' }),
      status: h('span', { id: 'status', part: 'status' }),
      notice: h('p', { id: 'notice', part: 'notice', hidden: true }),
      problem: h('p', { id: 'problem', part: 'problem', role: 'alert', hidden: true }),
      body: h('div', { class: 'body', part: 'body' }),
      announcer: h('p', { class: 'unseen', role: 'status', 'aria-live': 'polite' }),
    };
    card.append(
      h('header', { class: 'head' }, h('span', { class: 'mark' }, icon('link')), h('div', {}, parts.title, parts.subtitle)),
      h('div', { class: 'status-row' }, parts.label, parts.status),
      parts.notice,
      parts.body,
      parts.problem,
      parts.announcer,
    );
    this.#parts = parts;
    // Not shown before its style is there, and shown in any case if the style cannot come.
    const show = () => { card.hidden = false; };
    root.append(h('link', { rel: 'stylesheet', href: STYLE, load: show, error: show }), card);
  }

  #receive(name, data) {
    try {
      take(this.#model, name, data);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#heard += 1;
    this.#asked = false;
    this.#render();
    this.#tellHost(this.#model.status);
  }

  // Each change once, and only what somebody vouches for.
  #tellHost(now) {
    if (!now || now.stale) return;
    const word = `${now.status} ${now.reason}`;
    if (word === this.#told) return;
    this.#told = word;
    if (now.status === 'connected') this.#emit('connected', { phoneNumber: now.phoneNumber, name: now.name });
    if (now.status === 'disconnected') this.#emit('disconnected', { reason: now.reason, retryable: now.retryable });
  }

  #streamIs(word, why) {
    const model = this.#model;
    if (word === 'signed-out') {
      const connection = this.#connection;
      // Asked once for each time that we had something to show: a page that always cancels cannot spin.
      const ours = this.#asked || this.#emit('token-expired', {}, true);
      this.#asked = true;
      // The host may have called reconnect() inside its handler; then a newer stream has the word.
      if (connection !== this.#connection) return;
      if (!ours) word = 'lost';
    }
    model.stream = word;
    model.why = why;
    this.#render();
  }

  #fail(error) {
    this.#model.fault = error;
    this.#emit('error', { code: 'unreadable-event' });
    this.#render();
  }

  #emit(name, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable, bubbles: name !== 'error', composed: true }));
  }

  async #act(what, command) {
    const model = this.#model;
    if (model.pending) return;
    const held = this.shadowRoot.activeElement;
    model.pending = what;
    model.problem = null;
    this.#render();
    const heard = this.#heard;
    try {
      const status = await command();
      // The stream may have been faster: an answer older than what it said would take a living code off the page.
      if (status && heard === this.#heard) this.#receive('connection-status', status);
    } catch (error) {
      this.#refused(error);
    }
    model.pending = null;
    this.#render();
    if (held) this.#giveFocusBack(held);
  }

  // A disabled button loses the focus, and a replaced one takes it along; who works by keyboard must not start again
  // at the top of the page.
  #giveFocusBack(held) {
    if (document.activeElement && document.activeElement !== document.body) return;
    const target = held.isConnected && !held.disabled ? held : this.#parts.body.querySelector('.title');
    target?.focus();
  }

  #refused(error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) return;
    this.#model.problem = error;
    if (error.status === 429) this.#model.cooldown = new Deadline(error.retryAfter);
    this.#emit('error', { code: error.code });
  }

  #tick = () => {
    const { qr, pair, cooldown, status } = this.#model;
    if (!qr && !pair && !cooldown) return;
    this.#view?.tick?.();
    if (cooldown) this.#view?.update(this.#model);
    if (cooldown?.over) {
      this.#model.cooldown = null;
      this.#model.problem = null;
      this.#render();
    }
    if (qr?.deadline.over) {
      this.#speak();
      // The next code should have come long ago. Perhaps our stream is dead without knowing: ask anew, once for each.
      if (qr.deadline.left < -OVERDUE_MS && this.#overdue !== qr && status?.status === 'qr_pending') {
        this.#overdue = qr;
        this.#connection.open();
      }
    }
  };

  #render() {
    if (!this.#parts) return;
    const lang = language(this.lang || this.closest('[lang]')?.lang || document.documentElement.lang);
    Object.assign(this.#model, { lang, t: texts[lang], loginUrl: safeLink(this.getAttribute('login-url')) });
    try {
      this.#frame();
      this.#show();
    } catch (error) {
      if (this.#model.fault) throw error;
      this.#fail(error);
    }
  }

  #frame() {
    const { t, lang, status, stream, fault } = this.#model;
    const { card, title, subtitle, label } = this.#parts;
    const tenant = this.getAttribute('tenant-name');
    card.lang = lang;
    card.dataset.state = fault ? 'error' : (status?.status ?? 'loading');
    card.dataset.reason = status?.reason ?? '';
    // Three words for the outside; a stream that is only just opening is not live.
    card.dataset.stream = stream === 'opening' ? 'lost' : stream;
    card.toggleAttribute('data-opening', stream === 'opening');
    card.toggleAttribute('data-stale', Boolean(status?.stale));
    title.textContent = t.title;
    subtitle.textContent = t.subtitle;
    if (tenant) title.append(' ', h('span', { class: 'tenant' }, say(t.forTenant, { name: tenant })));
    label.textContent = t.statusLabel;
    this.#parts.status.textContent = statusWord(this.#model);
    set(this.#parts.notice, noticeWords(this.#model));
    set(this.#parts.problem, problemWords(this.#model));
    this.#speak();
  }

  #show() {
    const { body } = this.#parts;
    const { build, key } = choose(this.#model);
    const wanted = JSON.stringify(key);
    if (wanted !== this.#key) {
      const focused = this.shadowRoot.activeElement !== null && body.contains(this.shadowRoot.activeElement);
      this.#view = build(this.#model, this.#acts);
      body.replaceChildren(this.#view.node);
      this.#key = wanted;
      if (focused) body.querySelector('.title')?.focus();
    }
    this.#view.update(this.#model);
  }

  #acts = {
    connect: (phoneNumber) => this.#act('connect', () => this.#connection.connect(phoneNumber)),
    disconnect: () => this.#act('disconnect', () => this.#connection.disconnect()),
    cancel: () => this.#act('cancel', () => this.#connection.disconnect()),
    reload: () => {
      this.#model.fault = null;
      this.#asked = true;
      this.reconnect();
    },
  };

  // States, never seconds. It waits a moment so that a state which passes at once is not read out.
  #speak() {
    const words = spokenWords(this.#model);
    const { announcer } = this.#parts;
    if (announcer.dataset.next === words) return;
    announcer.dataset.next = words;
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => { announcer.textContent = words; }, SPEAK_MS);
  }
}

function set(node, words) {
  node.hidden = !words;
  if (node.textContent !== words) node.textContent = words;
}

// The address comes from an attribute; `javascript:` in it would be a script of somebody else's.
function safeLink(text) {
  if (!text) return null;
  try {
    const url = new URL(text, document.baseURI);
    return /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

customElements.define('whatsapp-link', WhatsappLink);
