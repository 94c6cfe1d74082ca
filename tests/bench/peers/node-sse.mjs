// The leanest server for event streams that Node allows, to hold Tautan against: plain http, tokens checked with HS256, an
// event made into bytes once for all readers of a tenant, one timer for all heartbeats.
//
// PORT: where it listens on 127.0.0.1. JWT_SECRET. HEARTBEAT_MS.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const { PORT, JWT_SECRET, HEARTBEAT_MS } = process.env;
const readers = new Map();
const HEARTBEAT = Buffer.from('event: heartbeat\ndata: {"every":15}\n\n');

function tenantOf(request) {
  const [head, claims, signature] = (request.headers.authorization ?? '').replace(/^Bearer /, '').split('.');
  if (!signature) return undefined;
  const expected = createHmac('sha256', JWT_SECRET).update(`${head}.${claims}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const { id, exp } = JSON.parse(Buffer.from(claims, 'base64url'));
  return exp * 1000 > Date.now() ? id : undefined;
}

function stream(request, response) {
  const tenant = tenantOf(request);
  if (tenant === undefined) return response.writeHead(401).end();
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write('retry: 3000\nevent: connection-status\ndata: {"status":"disconnected"}\n\n');
  let open = readers.get(tenant);
  if (!open) readers.set(tenant, (open = new Set()));
  open.add(response);
  response.on('close', () => open.delete(response) && open.size === 0 && readers.delete(tenant));
}

function publish(request, response, tenant) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const event = Buffer.from(`event: connection-status\ndata: ${Buffer.concat(parts)}\n\n`);
    for (const reader of readers.get(tenant) ?? []) reader.write(event);
    response.writeHead(202).end();
  });
}

setInterval(() => {
  for (const open of readers.values()) for (const reader of open) reader.write(HEARTBEAT);
}, Number(HEARTBEAT_MS));

createServer((request, response) => {
  const { method, url } = request;
  if (method === 'GET' && url === '/api/whatsapp/events') return stream(request, response);
  if (method === 'POST' && url.startsWith('/pub/')) return publish(request, response, url.slice('/pub/'.length));
  return response.writeHead(404).end();
}).listen({ port: Number(PORT), host: '127.0.0.1', backlog: 4096 });
