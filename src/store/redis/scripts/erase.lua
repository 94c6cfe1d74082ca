-- ARGV: nonce, fence, number.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
for _, name in ipairs(redis.call('SMEMBERS', tables)) do
  redis.call('UNLINK', rows_of(name))
end
redis.call('UNLINK', tables)
return answered(ARGV[1], ARGV[3], 0)
