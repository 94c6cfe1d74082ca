-- ARGV: the longest step that counts, in ms. A longer one is a jump of the clock, and does not count. Answers the time
-- counted so far, in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local step = now - tonumber(redis.call('HGET', idle_time, 'clock') or now)
if step < 0 or step > tonumber(ARGV[1]) then step = 0 end
redis.call('HSET', idle_time, 'clock', string.format('%.0f', now))
return redis.call('HINCRBY', idle_time, 'counted', string.format('%.0f', step))
