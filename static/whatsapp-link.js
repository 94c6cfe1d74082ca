import { applyEvent, deriveState, fill, streamMessage } from './model.js';
import { SCANNING, scanView } from './scan.js';
import { Stream } from './stream.js';
import { h, icon, look, show, stateView } from './views.js';

const TICK_MS = 250;
const SPEAK_MS = 700;

// Loads one language at a time. A failed import is tried again later, under another URL: browsers remember that a module
// failed.
const texts = {};
const AGAIN_MS = 5_000;
let marked = '';

/**
 * `<whatsapp-link base lang theme login-url tenant-name>`: the card that links one WhatsApp account.
 *
 * Events: each status by its name (`connected`, `disconnected`, `connecting`, `qr-pending`), `error`, `tenant-changed`,
 * and the cancelable `token-expired`: a host that cancels it renews the token and calls `reconnect()`.
 */
export class WhatsappLink extends HTMLElement {
  static observedAttributes = ['base', 'lang', 'login-url', 'tenant-name'];

  #model = {};
  #stream;
  #view;
  #key;
  #ticker;
  #speaking;
  #emitted;
  #asked;
  #tenant;
  #name;
  #styled;

  connectedCallback() {
    if (!this.shadowRoot) this.#build();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.reconnect();
  }

  disconnectedCallback() {
    clearInterval(this.#ticker);
    clearTimeout(this.#speaking);
    this.#stream.stop();
  }

  attributeChangedCallback(name) {
    if (!this.isConnected || !this.shadowRoot) return;
    if (name === 'base') this.reconnect();
    this.#render();
  }

  /** Opens a new stream now, for example after the host has renewed the token. */
  reconnect() {
    this.#stream?.stop();
    this.#stream = new Stream(this.getAttribute('base') ?? new URL('..', import.meta.url).href, {
      event: (name, json) => this.#receive(name, json),
      stream: (word, why) => this.#streamIs(word, why),
      tenant: () => this.#model.status?.tenantRef,
      hide: () => this.#hide(),
    });
    this.#stream.open();
  }

  #build() {
    const card = h(
      'section.card#card',
      { 'aria-labelledby': 'title', hidden: '' },
      h('header', h('span.mark', icon('link')), h('div', h('h2#title'), h('p.text#subtitle'))),
      h('div.row', h('span#label'), h('span#status')),
      h('div.body#body'),
      h('p#problem', { role: 'alert' }),
      // Last, so that nothing else moves when it appears or disappears.
      h('p#notice'),
      h('p.unseen#spoken', { role: 'status' }),
    );
    // The card stays hidden until its style has loaded or failed, and its texts are there.
    const reveal = () => {
      this.#styled = true;
      this.#render();
    };
    const href = new URL('whatsapp-link.css', import.meta.url).href;
    this.attachShadow({ mode: 'open' }).append(h('link', { rel: 'stylesheet', href, load: reveal, error: reveal }), card);
  }

  #receive(name, json) {
    this.#guarded(() => {
      const data = JSON.parse(json);
      const { tenantRef } = data;
      if (tenantRef && (this.#tenant ?? tenantRef) !== tenantRef) this.#forget();
      this.#tenant = tenantRef ?? this.#tenant;
      // Hidden at the word of another tab, which was out of date.
      if (this.#name && !this.hasAttribute('tenant-name')) this.setAttribute('tenant-name', this.#name);
      this.#name = null;
      applyEvent(this.#model, name, data);
      this.#model.named = this.getAttribute('tenant-name');
    });
    this.#asked = false;
    this.#render();
    const { status, reason, stale, phoneNumber, tenantRef } = this.#model.status ?? {};
    // Emits each change once, and never a stale status.
    const change = status + reason + phoneNumber + tenantRef;
    if (!status || stale || this.#emitted === change) return;
    this.#emitted = change;
    this.#emit(status.replace('_', '-'), { ...this.#model.status });
  }

  // The tenant changed, or may have: drop everything of the previous one.
  #hide() {
    // Keep `tenant-name` if the host has changed it already.
    const name = this.getAttribute('tenant-name');
    if (name && this.#model.named === name) {
      this.#name = name;
      this.removeAttribute('tenant-name');
    }
    this.#model = { stream: this.#model.stream };
  }

  #forget() {
    this.#hide();
    this.#tenant = this.#name = null;
    this.#emit('tenant-changed', {});
  }

  #streamIs(word, why) {
    if (word === 'signed-out') {
      const stream = this.#stream;
      // Emitted once until the next event arrives. Without this a host that always cancels would make an endless loop.
      const ours = this.#asked || this.#emit('token-expired', {}, true);
      this.#asked = true;
      // The host may have called reconnect() inside its handler: then ignore this stream.
      if (stream !== this.#stream) return;
      if (!ours) word = 'lost';
    }
    this.#model.stream = word;
    // The message of a lost stream stays during each attempt to reopen it. Otherwise it would flicker.
    if (word !== 'opening') Object.assign(this.#model, { lost: word === 'lost', why });
    this.#render();
  }

  // If `act` throws, the card shows that the page is broken.
  #guarded(act) {
    try {
      act();
    } catch (error) {
      this.#model.fault = error;
      this.#emit('error', { code: 'broken', error });
    }
  }

  #emit(name, detail, cancelable) {
    // `error` does not bubble: the window's error handler would treat it as an error of a script.
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable, bubbles: name !== 'error', composed: true }));
  }

  async #command(name, body) {
    const model = this.#model;
    if (model.pending) return;
    const held = this.shadowRoot.activeElement;
    Object.assign(model, { pending: true, problem: null });
    this.#render();
    // Ignore the body of the answer: the stream may have sent a newer status already.
    const problem = await this.#stream.command(name, body);
    if (problem) {
      if (problem.code === 'tenant-changed') {
        // Do not wait for the next stream: it may be refused for minutes. If the open stream has changed the tenant already,
        // the model is another one.
        if (model === this.#model) this.#forget();
        this.reconnect();
      } else if (problem.status !== 401) model.problem = problem;
      this.#emit('error', { code: problem.code });
    }
    model.pending = false;
    this.#render();
    // The focus is lost when a button is disabled or replaced: give it back.
    if (held && !this.shadowRoot.activeElement) (held.isConnected ? held : this.#at('body').querySelector('.title')).focus();
  }

  #acts = {
    connect: (phoneNumber) => {
      this.#model.typing = phoneNumber;
      this.#command('connect', phoneNumber && { phoneNumber });
    },
    confirm: () => this.#command('passkey', { confirmed: true, pairing: this.#model.passkey?.pairing }),
    disconnect: () => this.#command('disconnect'),
    retry: () => {
      this.#model.fault = null;
      this.#asked = true;
      this.reconnect();
    },
  };

  #tick() {
    if (this.#model.qr ?? this.#model.passkey) this.#render();
    this.#stream.check();
  }

  #render() {
    const model = this.#model;
    const tag = this.closest('[lang]')?.lang.toLowerCase();
    model.indonesian = /^i[dn]\b/.test(tag);
    model.lang = /^(in|ms)\b/.test(tag) ? 'id' : (/^(id|pt|es|hi|ar)\b/.exec(tag)?.[0] ?? 'en');
    model.t = texts[model.lang];
    if (!model.t?.title) return this.#load(model.lang);
    this.#guarded(() => this.#show(model));
    if (model.fault) this.#show(model);
  }

  #load(lang) {
    texts[lang] ??= import(`./texts.${lang}.js${marked}`).then(
      (module) => (texts[lang] = module.default),
      () => {
        marked += '?';
        return new Promise((wake) => setTimeout(() => wake(delete texts[lang]), AGAIN_MS));
      },
    );
    texts[lang].then(() => this.#render());
  }

  #show(model) {
    const { t, lang, status, stream, problem } = model;
    const [card, body] = [this.#at('card'), this.#at('body')];
    const tenant = this.getAttribute('tenant-name');
    // Refuses `javascript:`, which would run a foreign script.
    model.loginUrl = /^(https?:|\/)/.exec(this.getAttribute('login-url'))?.input;
    deriveState(model);
    Object.assign(card, { lang, dir: lang === 'ar' ? 'rtl' : 'ltr' });
    card.hidden = !this.#styled;
    card.className = `card ${look(model)[1]}`;
    // Pages and styles see three words for the stream; `opening` counts as `lost`.
    Object.assign(card.dataset, {
      state: model.state,
      reason: status?.reason ?? '',
      stream: stream === 'opening' ? 'lost' : stream,
    });
    // A view that asks to sign in, or to reload, shows no status: it is never out of date.
    const stale = status?.stale && model.state === status.status;
    card.toggleAttribute('data-stale', !!stale);
    const put = (id, text) => show(this.#at(id), text);
    put('title', tenant ? `${t.title} ${fill(t.tenant, tenant)}` : t.title);
    put('subtitle', t.subtitle);
    put('label', t.label);
    put('problem', problem ? fill(t.problems[problem.code] ?? t.problems[problem.status] ?? t.problems.other, problem.wait) : '');
    put('notice', streamMessage(model));
    // Replaced, not changed: a longer word begins elsewhere, and browsers count that as a layout shift of the same node.
    const word = stale ? t.status.checking : model.of(t.status);
    if (this.#at('status').textContent !== word) this.#at('status').replaceWith(h('span#status', word));

    const scan = model.name in SCANNING;
    const key = JSON.stringify([lang, status?.tenantRef, scan || [model.name, model.loginUrl, { ...status, stale: 0 }]]);
    if (key !== this.#key) {
      const focused = body.contains(this.shadowRoot.activeElement);
      this.#view = (scan ? scanView : stateView)(model, this.#acts);
      body.replaceChildren(this.#view);
      this.#key = key;
      if (focused) body.querySelector('.title').focus();
    }
    this.#view.update?.(model);

    for (const button of body.querySelectorAll('.command')) button.disabled = model.pending;
    this.#speak(streamMessage(model) || model.of(t.states).slice(0, 2).join('. '));
  }

  #at(id) {
    return this.shadowRoot.getElementById(id);
  }

  // Screen readers hear states, never seconds. The pause leaves out a state that lasts only a moment.
  #speak(sentence) {
    const spoken = this.#at('spoken');
    if (spoken.dataset.next === sentence) return;
    spoken.dataset.next = sentence;
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => show(spoken, sentence), SPEAK_MS);
  }
}

customElements.define('whatsapp-link', WhatsappLink);
