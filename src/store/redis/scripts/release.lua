-- `owned` is the owner's. `released_after` counts the registrations before this release: an instance that had registered
-- before may acquire the tenant at once, see `Membership::may_acquire_linked`. ARGV: nonce, fence, number, version, doubted,
-- whether readers need a refresh, our instance, our incarnation.
local answer = refused(ARGV[1], ARGV[2], ARGV[3])
if answer then return answer end
if not is_at(ARGV[4]) then return { 'again', '' } end
redis.call('SADD', wanted, tenant)
clear_owner()
redis.call('HSET', record, 'released_after', redis.call('GET', registrations) or '0')
changed(ARGV[5], ARGV[1] .. ' ' .. ARGV[3])
redis.call('SREM', owned, tenant)
if ARGV[6] == '1' then refresh() end
notify(ARGV[7], ARGV[8])
return answered(ARGV[1], ARGV[3], 0)
