-- Empties an inbox and answers what was in it, in one step: what comes after is taken the next time.
local found = redis.call('SMEMBERS', KEYS[1])
redis.call('DEL', KEYS[1])
return found
