-- Puts a tenant that no index names into the one of those that are wanted. ARGV: the version at which it was wanted and had
-- no living owner. Answers whether it was not there.
if not is_at(ARGV[1]) then return 0 end
allow_oom()
return redis.call('SADD', wanted, tenant)
