import { h } from './dom.js';
import { icon } from './icons.js';

// The small pieces that several views share.

export function primary(id, name, label, click) {
  return button('button primary', id, name, label, click);
}

export function quiet(id, name, label, click) {
  return button('button', id, name, label, click);
}

function button(style, id, name, label, click) {
  return h(
    'button',
    { type: 'button', class: style, id, part: `button ${id}`, click },
    name ? icon(name) : null,
    h('span', { class: 'label' }, label),
  );
}

export function spinner() {
  return h('span', { class: 'spinner', 'aria-hidden': 'true' });
}

export function emblem(name, tone) {
  return h('span', { class: `emblem ${tone}` }, icon(name));
}

/** The title takes the focus when the view replaces one that had it. */
export function heading(title, text) {
  return [h('h3', { class: 'title', tabindex: -1 }, title), text ? h('p', { class: 'text' }, text) : null];
}

export function steps(t) {
  return h(
    'section',
    { class: 'steps', part: 'steps' },
    h('h4', {}, t.steps.title),
    h('ol', {}, ...t.steps.list.map((step) => h('li', {}, h('span', {}, step)))),
  );
}
