-- ARGV: the taker's token, ms. Changes nothing where it is somebody else's by now.
if read('notice_claim') ~= ARGV[1] then return 0 end
allow_oom()
local due = string.format('%.0f', now_ms() + tonumber(ARGV[2]))
redis.call('ZADD', notices, due, tenant)
redis.call('HSET', record, 'notice_due', due)
redis.call('HINCRBY', record, 'notice_tries', 1)
redis.call('HDEL', record, 'notice_claim')
return 1
