import { en } from './texts.en.js';
import { id } from './texts.id.js';

/** Every word of the page, by language. Both tables have the same keys; each reason of the contract has a sentence. */
export const texts = { id, en };

/** `id-ID` → `id`, `en-GB` → `en`; any other language reads English. */
export function language(tag) {
  return /^(id|in|ms)\b/i.test(tag ?? '') ? 'id' : 'en';
}

/** Puts values into the `{places}` of a sentence. */
export function say(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}
