-- KEYS behind the named ones: the sets `owned` of the incarnations. Answers the incarnations, and all names of the indexes:
-- read at once, since a tenant may move from one to another.
local names = {}
for at = NAMED, #KEYS do
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[at])) do
    names[#names + 1] = name
  end
end
return { redis.call('SMEMBERS', incarnations), names }
