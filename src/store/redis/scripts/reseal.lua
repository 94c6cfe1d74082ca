-- Seals anew what is sealed with the key that is given up. ARGV, six for each: what, where, its name, what it is, its new
-- name, what it becomes. Each is exchanged only if it still is what it was, so neither the owner nor anybody else has to
-- stand still meanwhile, and no lease is needed: nothing changes but the seal.
local events, exchanged = {}, 0
for at = 1, #ARGV, 6 do
  local what, where, name, old, new_name, new = unpack(ARGV, at, at + 5)
  if what == 'event' then
    events[where] = { old, new }
  elseif what == 'wish' and redis.call('HGET', record, 'wish') == old then
    redis.call('HSET', record, 'wish', new)
    exchanged = exchanged + 1
  elseif what == 'code' and redis.call('GET', code_of(where)) == old then
    redis.call('SET', code_of(where), new, 'KEEPTTL')
    exchanged = exchanged + 1
  elseif what == 'row' and redis.call('HGET', rows_of(where), name) == old then
    -- In this order: a script that is refused a command midway takes nothing back.
    redis.call('HSETNX', rows_of(where), new_name, new)
    redis.call('HDEL', rows_of(where), name)
    exchanged = exchanged + 1
  end
end
if next(events) == nil then return exchanged end

-- An entry of a stream cannot be changed, so the short stream is made anew, each entry under the id it had.
local entries, changed = redis.call('XRANGE', history, '-', '+'), false
for _, entry in ipairs(entries) do
  local event = events[entry[1]]
  if event and entry[2][2] == event[1] then
    entry[2][2], changed = event[2], true
    exchanged = exchanged + 1
  end
end
if changed then
  redis.call('UNLINK', history)
  for _, entry in ipairs(entries) do
    redis.call('XADD', history, entry[1], unpack(entry[2]))
  end
end
return exchanged
