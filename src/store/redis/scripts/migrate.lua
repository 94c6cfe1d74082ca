-- Precedes the script of a migration. `found` is a key of the tenant. ARGV: the layout that is migrated, the holder of the
-- lock, for how many ms more the lock is held. An instance that was frozen finds that another one has gone on, and must not
-- write what instances use already.
local proof, lock, found = unpack(KEYS)
if redis.call('HGET', proof, 'migrating') ~= ARGV[1] or redis.call('GET', lock) ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', lock, ARGV[3])
