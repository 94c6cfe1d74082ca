-- ARGV: the beat, ms to live. Run only while the heartbeat exists. The first command needs no memory, so a Redis whose
-- memory is full takes the second one as well.
if redis.call('PEXPIRE', alive, ARGV[2]) == 1 then
  redis.call('SET', alive, ARGV[1], 'PX', ARGV[2])
end
