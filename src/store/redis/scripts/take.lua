-- ARGV: the dispatcher's token, the visibility timeout in ms. Answers a word and the entry: the event's id, its time, how
-- often it was not delivered, and the newest event with its id. All times are by the clock of Redis.
local id = read('outbox_event')
if id == '' then
  redis.call('ZREM', outbox, tenant)
  return { 'none', '', '', '', '', '' }
end
local now = now_ms()
local due = tonumber(read('outbox_due')) or 0
allow_oom()
if due > now then
  redis.call('ZADD', outbox, string.format('%.0f', due), tenant)
  return { 'later', '', '', '', '', '' }
end
due = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('ZADD', outbox, due, tenant)
redis.call('HSET', record, 'outbox_due', due, 'outbox_claim', ARGV[1])
local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
return { 'taken', id, read('outbox_at'), read('outbox_tries'), newest[1], newest[2][2] }
