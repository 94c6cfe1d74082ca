-- KEYS[1]: the time that counts towards forgetting. ARGV[1]: the longest step that counts, in ms. What the clock jumps over
-- does not count. Answers the time counted so far, in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local step = now - tonumber(redis.call('HGET', KEYS[1], 'clock') or now)
if step < 0 or step > tonumber(ARGV[1]) then step = 0 end
redis.call('HSET', KEYS[1], 'clock', string.format('%.0f', now))
return redis.call('HINCRBY', KEYS[1], 'counted', string.format('%.0f', step))
