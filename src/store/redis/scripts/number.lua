-- `used` holds when pairing codes were requested for one number, the newest first, each with the token of its call. ARGV: the
-- call's token, how many codes in how many ms. Answers 1 if another one may be requested, and counts it. A call that is
-- repeated because its answer was lost is counted once.
local max, per = tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local times = redis.call('LRANGE', used, 0, max - 1)
for _, entry in ipairs(times) do
  if string.match(entry, ' (%x+)$') == ARGV[1] then return 1 end
end
local first = tonumber(string.match(times[max] or '', '^%d+'))
-- Ignore a time in the future: after the clock was set back the number would be refused for too long.
if first and first <= now and now - first < per then return 0 end
redis.call('LPUSH', used, string.format('%.0f', now) .. ' ' .. ARGV[1])
redis.call('LTRIM', used, 0, max - 1)
redis.call('PEXPIRE', used, ARGV[3])
return 1
