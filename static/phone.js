// Country codes of one and two digits (ITU E.164); every other one has three.
const ONE = /^[17]/;
const TWO = /^(20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

/** `6281234567890` → `+62 812-3456-7890`. What is not a plain number comes back as it is. */
export function formatPhone(digits) {
  const text = String(digits ?? '');
  if (!/^\d{6,15}$/.test(text)) return text;
  const length = ONE.test(text) ? 1 : TWO.test(text) ? 2 : 3;
  const country = text.slice(0, length);
  const rest = text.slice(length);
  return `+${country} ${(country === '62' ? indonesian(rest) : grouped(rest)).join('-')}`;
}

/** What a person types (`0812 3456-7890`, `+62 812…`) → digits for WhatsApp, or null if it cannot be a number. */
export function parsePhone(input) {
  const digits = input.replace(/\D/g, '').replace(/^0(?!0)/, '62').replace(/^00/, '');
  return /^[1-9]\d{7,14}$/.test(digits) ? digits : null;
}

function indonesian(rest) {
  if (rest.length <= 9) return grouped(rest);
  return [rest.slice(0, 3), rest.slice(3, 7), rest.slice(7)];
}

function grouped(rest) {
  if (rest.length === 8) return [rest.slice(0, 4), rest.slice(4)];
  const last = rest.length === 9 ? 3 : 4;
  const groups = [rest.slice(-last)];
  for (let end = rest.length - last; end > 0; end -= 3) groups.unshift(rest.slice(Math.max(0, end - 3), end));
  // A digit alone reads like a code of its own.
  if (groups.length > 1 && groups[0].length === 1) groups.splice(0, 2, groups[0] + groups[1]);
  return groups;
}
