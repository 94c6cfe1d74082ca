-- ARGV: the taker's token, ms. Answers when it is due; '': it is somebody else's by now.
if read('notice_claim') ~= ARGV[1] then return '' end
allow_oom()
local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]))
redis.call('HSET', record, 'notice_due', due)
redis.call('HINCRBY', record, 'notice_tries', 1)
redis.call('HDEL', record, 'notice_claim')
return due
