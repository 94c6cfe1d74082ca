import { notice, say, settle, take } from './model.js';
import { SCANNING, scanView } from './scan.js';
import { Stream } from './stream.js';
import { h, icon, look, show, stateView } from './views.js';

const TICK_MS = 250;
const SPEAK_MS = 700;

// One language at a time comes over the wire; one that could not come is asked for again after a while, under another
// name: browsers remember that a module failed.
const texts = {};
const AGAIN_MS = 5_000;
let marked = '';

/**
 * `<whatsapp-link base lang theme login-url tenant-name>`: the card that links one WhatsApp account.
 *
 * Events: each status by its name (`connected`, `disconnected`, `connecting`, `qr-pending`), `error`, `tenant-changed`,
 * and the cancelable `token-expired`: who cancels it renews the sign-in and calls `reconnect()`.
 */
export class WhatsappLink extends HTMLElement {
  static observedAttributes = ['base', 'lang', 'login-url', 'tenant-name'];

  #model = {};
  #stream;
  #view;
  #key;
  #ticker;
  #speaking;
  #told;
  #asked;
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

  /** Opens a new stream now: after a renewed sign-in, or whenever the page wants to be sure. */
  reconnect() {
    this.#stream?.stop();
    this.#stream = new Stream(this.getAttribute('base') ?? new URL('..', import.meta.url).href, {
      event: (name, json) => this.#receive(name, json),
      stream: (word, why) => this.#streamIs(word, why),
      tenant: () => this.#model.status?.tenantRef,
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
      // Last, so that nothing moves when it comes and goes.
      h('p#notice'),
      h('p.unseen#spoken', { role: 'status' }),
    );
    // Not shown before its style and its words are there; without the one, in any case, if it cannot come.
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
      if (tenantRef && (this.#model.status?.tenantRef ?? tenantRef) !== tenantRef) this.#forget();
      take(this.#model, name, data);
      this.#model.named = this.getAttribute('tenant-name');
    });
    this.#asked = false;
    this.#render();
    const { status, reason, stale, phoneNumber, tenantRef } = this.#model.status ?? {};
    // Each change once, and only what somebody vouches for.
    const change = status + reason + phoneNumber + tenantRef;
    if (!status || stale || this.#told === change) return;
    this.#told = change;
    this.#emit(status.replace('_', '-'), { ...this.#model.status });
  }

  // Somebody else has signed in: nothing of the tenant before is shown, announced or sent any more.
  #forget() {
    // A host that has named the new tenant already is right.
    if (this.#model.named === this.getAttribute('tenant-name')) this.removeAttribute('tenant-name');
    this.#model = { stream: this.#model.stream };
    this.#emit('tenant-changed', {});
  }

  #streamIs(word, why) {
    if (word === 'signed-out') {
      const stream = this.#stream;
      // Asked once for each time that there was something to show: a page that always cancels cannot spin.
      const ours = this.#asked || this.#emit('token-expired', {}, true);
      this.#asked = true;
      // The host may have called reconnect() inside its handler; then a newer stream has the word.
      if (stream !== this.#stream) return;
      if (!ours) word = 'lost';
    }
    this.#model.stream = word;
    // While a lost stream is opened again and again the notice stays, and does not come and go with each try.
    if (word !== 'opening') Object.assign(this.#model, { lost: word === 'lost', why });
    this.#render();
  }

  // Whatever goes wrong in here leaves a card that says so.
  #guarded(act) {
    try {
      act();
    } catch (error) {
      this.#model.fault = error;
      this.#emit('error', { code: 'broken', error });
    }
  }

  #emit(name, detail, cancelable) {
    // `error` does not bubble, or the window's own handler would take it for a script's.
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable, bubbles: name !== 'error', composed: true }));
  }

  async #command(name, body) {
    const model = this.#model;
    if (model.pending) return;
    const held = this.shadowRoot.activeElement;
    Object.assign(model, { pending: true, problem: null });
    this.#render();
    // The stream tells what comes of it: an answer may be older than what it has said.
    const problem = await this.#stream.command(name, body);
    if (problem) {
      if (problem.code === 'tenant-changed') {
        // At once: the next stream may be refused for minutes. The stream may have said so before the answer came.
        if (model === this.#model) this.#forget();
        this.reconnect();
      } else if (problem.status !== 401) model.problem = problem;
      this.#emit('error', { code: problem.code });
    }
    model.pending = false;
    this.#render();
    // A disabled button loses the focus, and a replaced one takes it along.
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
    // `javascript:` in an attribute would be a script of somebody else's.
    model.loginUrl = /^(https?:|\/)/.exec(this.getAttribute('login-url'))?.input;
    settle(model);
    Object.assign(card, { lang, dir: lang === 'ar' ? 'rtl' : 'ltr' });
    card.hidden = !this.#styled;
    card.className = `card ${look(model)[1]}`;
    // Three words for the outside; a stream that is only just opening is not live.
    Object.assign(card.dataset, {
      state: model.state,
      reason: status?.reason ?? '',
      stream: stream === 'opening' ? 'lost' : stream,
    });
    // A view that asks to sign in, or to reload, shows no status: it is never out of date.
    const stale = status?.stale && model.state === status.status;
    card.toggleAttribute('data-stale', !!stale);
    const put = (id, text) => show(this.#at(id), text);
    put('title', tenant ? `${t.title} ${say(t.tenant, tenant)}` : t.title);
    put('subtitle', t.subtitle);
    put('label', t.label);
    put('problem', problem ? say(t.problems[problem.code] ?? t.problems[problem.status] ?? t.problems.other, problem.wait) : '');
    put('notice', notice(model));
    // Made anew, since its beginning moves with its length.
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
    this.#speak(notice(model) || model.of(t.states).slice(0, 2).join('. '));
  }

  #at(id) {
    return this.shadowRoot.getElementById(id);
  }

  // States, never seconds. It waits a moment so that a state which passes at once is not read out.
  #speak(sentence) {
    const spoken = this.#at('spoken');
    if (spoken.dataset.next === sentence) return;
    spoken.dataset.next = sentence;
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => show(spoken, sentence), SPEAK_MS);
  }
}

customElements.define('whatsapp-link', WhatsappLink);
