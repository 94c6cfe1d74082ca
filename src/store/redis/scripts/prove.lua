-- KEYS: the proof. ARGV: what it was when this was decided ('': nothing), what it becomes. What it was stays beside it.
if (redis.call('HGET', KEYS[1], 'proof') or '') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'proof', ARGV[2], 'former', ARGV[1])
end
