-- Adds a tenant that no index names to `wanted`. ARGV: the version at which it was wanted and had no live owner. Answers
-- whether it was missing.
if not is_at(ARGV[1]) then return 0 end
allow_oom()
return redis.call('SADD', wanted, tenant)
