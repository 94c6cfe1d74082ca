-- ARGV: the taker's own token, ms for which nobody else takes it. Answers a word, and of what is taken its id, its time,
-- how often it was tried, and the newest event with its id: by the time of a script, no instance's.
local id = read('notice')
if id == '' then
  redis.call('ZREM', notices, tenant)
  return { 'none', '', '', '', '', '' }
end
local now = now_ms()
local due = tonumber(read('notice_due')) or 0
allow_oom()
if due > now then
  redis.call('ZADD', notices, string.format('%.0f', due), tenant)
  return { 'later', '', '', '', '', '' }
end
due = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('ZADD', notices, due, tenant)
redis.call('HSET', record, 'notice_due', due, 'notice_claim', ARGV[1])
local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
return { 'taken', id, read('notice_at'), read('notice_tries'), newest[1], newest[2][2] }
