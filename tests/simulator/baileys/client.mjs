// One Baileys client against the simulator: `node client.mjs URL ROOT_KEY_HEX [NUMBER]`. What happens to it is told on
// stdout, a JSON object a line: {"qr"}, {"code"} where a number was given, {"open"}, {"text"}, and {"closed", "reason"} when
// it gives up.
import { trust } from './strict.mjs';

const { default: makeWASocket, DisconnectReason, initAuthCreds } = await import('baileys');
const { default: pino } = await import('pino');

const [url, root, number] = process.argv.slice(2);
trust(root);

const tell = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);

const kept = new Map();
const keys = {
  get: async (type, ids) => Object.fromEntries(ids.map((id) => [id, kept.get(`${type}/${id}`)]).filter(([, key]) => key)),
  set: async (change) => {
    for (const [type, entries] of Object.entries(change)) {
      for (const [id, key] of Object.entries(entries)) {
        key ? kept.set(`${type}/${id}`, key) : kept.delete(`${type}/${id}`);
      }
    }
  },
};
const creds = initAuthCreds();
let asked = !number;

function connect() {
  const socket = makeWASocket({
    auth: { creds, keys },
    waWebSocketUrl: url,
    logger: pino({ level: process.env.LOG ?? 'silent' }, pino.destination(2)),
    shouldSyncHistoryMessage: () => false,
    syncFullHistory: false,
  });
  socket.ev.on('creds.update', (update) => Object.assign(creds, update));
  socket.ev.on('connection.update', async ({ qr, connection, lastDisconnect }) => {
    if (qr) tell({ qr });
    if (qr && !asked) {
      asked = true;
      tell({ code: await socket.requestPairingCode(number) });
    }
    if (connection === 'open') tell({ open: creds.me.id });
    if (connection !== 'close') return;
    const code = lastDisconnect?.error?.output?.statusCode;
    if (code === DisconnectReason.restartRequired) return connect();
    tell({ closed: code ?? 0, reason: String(lastDisconnect?.error?.message ?? '') });
    process.exit(0);
  });
  socket.ev.on('messages.upsert', ({ messages }) => {
    for (const { message } of messages) if (message?.conversation) tell({ text: message.conversation });
  });
}

connect();
