-- The list holds when pairing codes were asked for one number, the last first, each with the token of its call. ARGV: the call's own
-- token, how many codes in how many ms. Answers 1 where one more may be asked for, which counts then. A call that comes
-- again, since its answer was lost, is counted once.
local max, per = tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local times = redis.call('LRANGE', used, 0, max - 1)
for _, entry in ipairs(times) do
  if string.match(entry, ' (%x+)$') == ARGV[1] then return 1 end
end
local first = tonumber(string.match(times[max] or '', '^%d+'))
-- Not one of the future: a clock that was set back must not shut a number out.
if first and first <= now and now - first < per then return 0 end
redis.call('LPUSH', used, string.format('%.0f', now) .. ' ' .. ARGV[1])
redis.call('LTRIM', used, 0, max - 1)
redis.call('PEXPIRE', used, ARGV[3])
return 1
