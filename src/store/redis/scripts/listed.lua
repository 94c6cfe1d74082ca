-- KEYS: the incarnations, then the indexes of wanted and owned tenants. Answers the incarnations, and all names of the indexes:
-- read at once, since a tenant may move from one to another.
local names = {}
for at = 2, #KEYS do
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[at])) do
    names[#names + 1] = name
  end
end
return { redis.call('SMEMBERS', KEYS[1]), names }
