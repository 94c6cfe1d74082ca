-- ARGV: a tenant, the score it was seen with. Another score says that there is news of it.
local score = redis.call('ZSCORE', notices, ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then redis.call('ZREM', notices, ARGV[1]) end
