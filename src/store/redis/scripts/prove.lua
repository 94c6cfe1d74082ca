-- ARGV: the proof that this was decided on ('': there was none), the new proof, our layout. The old proof is kept beside the
-- new one. The first proof is written together with the layout: a proof without a layout would be read as one of a version
-- that had no number.
if (redis.call('HGET', proof, 'proof') or '') == ARGV[1] then
  redis.call('HSET', proof, 'proof', ARGV[2], 'former', ARGV[1])
  if ARGV[1] == '' then redis.call('HSET', proof, 'layout', ARGV[3]) end
end
