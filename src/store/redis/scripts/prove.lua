-- ARGV: the proof when this was decided ('': there was none), what it becomes, our layout. What it was stays beside it. Who
-- makes the first proof says the layout in the same step: without this, a proof without a layout would be read as one of a
-- version that had no number.
if (redis.call('HGET', proof, 'proof') or '') == ARGV[1] then
  redis.call('HSET', proof, 'proof', ARGV[2], 'former', ARGV[1])
  if ARGV[1] == '' then redis.call('HSET', proof, 'layout', ARGV[3]) end
end
