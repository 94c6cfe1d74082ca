-- ARGV: the dispatcher's token, ms. Changes nothing if another dispatcher has taken the entry since.
if read('outbox_claim') ~= ARGV[1] then return 0 end
allow_oom()
local due = string.format('%.0f', now_ms() + tonumber(ARGV[2]))
redis.call('ZADD', outbox, due, tenant)
redis.call('HSET', record, 'outbox_due', due)
redis.call('HINCRBY', record, 'outbox_tries', 1)
redis.call('HDEL', record, 'outbox_claim')
return 1
