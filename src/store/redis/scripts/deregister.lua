-- ARGV: the incarnation's name. Without tenants it also leaves the list: after a restart of Redis others would wait for a
-- listed instance that has not compared its leases. With tenants it stays, so that they are found.
redis.call('DEL', alive)
if redis.call('EXISTS', owned) == 0 then
  redis.call('SREM', incarnations, ARGV[1])
  redis.call('DEL', inbox)
end
