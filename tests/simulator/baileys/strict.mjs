// Baileys as strict as it reads: in the published version `Curve.verify` drops what libsignal answers and says yes to every
// signature. `Curve` is the object that the library itself calls, so setting it here is enough.
import { createRequire } from 'node:module';
import { webcrypto } from 'node:crypto';

// Node 18 has it, but not yet as a global, where Baileys looks for it while it loads.
globalThis.crypto ??= webcrypto;

const { Curve, generateSignalPubKey } = await import('./node_modules/baileys/lib/Utils/crypto.js');
const { WA_CERT_DETAILS } = await import('./node_modules/baileys/lib/Defaults/index.js');
const libsignal = createRequire(import.meta.url)('libsignal/src/curve.js');

Curve.verify = (publicKey, message, signature) => {
  try {
    return libsignal.verifySignature(generateSignalPubKey(publicKey), message, signature) === true;
  } catch {
    return false;
  }
};

/** Makes the certificate chain end in the simulator's root instead of WhatsApp's. */
export function trust(rootHex) {
  WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(rootHex, 'hex');
}
