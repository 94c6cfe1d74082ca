-- ARGV: nonce, fence, number, the time now and how long a crash counts, both in ms. Answers how many crashes count, with this
-- one.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
local now, window = tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('LPUSH', crashes, ARGV[4])
redis.call('LTRIM', crashes, 0, 15)
redis.call('PEXPIRE', crashes, ARGV[5])
local count = 0
for _, at in ipairs(redis.call('LRANGE', crashes, 0, -1)) do
  if now - tonumber(at) < window then count = count + 1 end
end
return answered(ARGV[1], ARGV[3], count)
