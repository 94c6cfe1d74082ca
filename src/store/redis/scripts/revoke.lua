-- ARGV: the tenant's public reference; the channel; the second until which its tokens are revoked, or
-- '' for now. A clock that was set back does not move it back. Answers the second that counts.
local until_second = tonumber(ARGV[3]) or tonumber(redis.call('TIME')[1])
local kept = tonumber(redis.call('ZSCORE', revocations, ARGV[1]) or '')
if kept and kept > until_second then until_second = kept end
local text = string.format('%.0f', until_second)
redis.call('ZADD', revocations, text, ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[1] .. ' ' .. text)
return text
