-- Encrypts again what the previous key has encrypted. ARGV, six for each: kind, place, name, old value, new name, new value.
-- A value is exchanged only if it is still the old one. So this needs no lease, and the owner goes on meanwhile.
local events, exchanged = {}, 0
for at = 1, #ARGV, 6 do
  local what, where, name, old, new_name, new = unpack(ARGV, at, at + 5)
  if what == 'event' then
    events[where] = { old, new }
  elseif what == 'desired' and redis.call('HGET', record, 'desired') == old then
    redis.call('HSET', record, 'desired', new)
    exchanged = exchanged + 1
  elseif what == 'code' and redis.call('GET', code_of(where)) == old then
    redis.call('SET', code_of(where), new, 'KEEPTTL')
    exchanged = exchanged + 1
  elseif what == 'row' and redis.call('HGET', rows_of(where), name) == old then
    -- In this order: a script that Redis stops midway is not rolled back, and would lose the row.
    redis.call('HSETNX', rows_of(where), new_name, new)
    redis.call('HDEL', rows_of(where), name)
    exchanged = exchanged + 1
  end
end
if next(events) == nil then return exchanged end

-- An entry of a stream cannot be changed, so the stream is made again, each entry with its id.
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
