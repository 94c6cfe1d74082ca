-- ARGV: nonce, fence, number, then four for each change: kind, table, row, value. An erasure removes the tables that the set
-- `tables` names.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
for at = 4, #ARGV, 4 do
  local what, name = ARGV[at], ARGV[at + 1]
  local rows = rows_of(name)
  if what == 'put' then
    redis.call('HSET', rows, ARGV[at + 2], ARGV[at + 3])
    redis.call('SADD', tables, name)
  else
    if what == 'delete' then
      redis.call('HDEL', rows, ARGV[at + 2])
    else
      redis.call('UNLINK', rows)
    end
    if redis.call('EXISTS', rows) == 0 then redis.call('SREM', tables, name) end
  end
end
return answered(ARGV[1], ARGV[3], 0)
